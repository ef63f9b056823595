//! `cargo xtask tidy`: the parts of docs/architecture.md that a machine can check.
//!
//! A module a family of rules. A rule is a function from text to violations and looks at nothing
//! else, so that a test can show it a text that breaks it.

mod documentation;
mod layering;
mod layout;
mod links;
mod mentions;
mod names;
mod readme;
mod repository;
mod rust;
mod wire;

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use cargo_metadata::{MetadataCommand, Package};
use repository::{TextFile, read_all, top_level};

/// Something in the repository that is not as docs/architecture.md says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Violation {
    /// Relative to the root of the repository, with `/`.
    file: String,
    line: usize,
    what: String,
    why: String,
}

impl Violation {
    fn new(file: &str, line: usize, what: impl Into<String>, why: impl Into<String>) -> Violation {
        Violation { file: file.to_owned(), line, what: what.into(), why: why.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { file, line, .. } = self;
        write!(f, "{file}:{line}: {} ({})", self.what, self.why)
    }
}

/// Checks the workspace that the current directory is in, prints every violation as one line
/// `path:line: what (why)`.
///
/// # Errors
///
/// When there is a violation, or something cannot be read.
pub fn run() -> anyhow::Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec()?;
    let root = metadata.workspace_root.as_std_path();
    let rust_files = read_all(root, &["crates", "xtask"], "rs")?;
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let mut documents = read_all(root, &["docs", "crates", "xtask"], "md")?;
    documents.extend(
        ["README.md", "CHANGELOG.md"]
            .map(|path| TextFile { path: path.to_owned(), text: read(path) }),
    );

    let mut violations = Vec::new();
    violations.extend(layering::check(&metadata, &read("docs/architecture.md")));
    violations.extend(layout::check_top_level(&top_level(root)?));
    violations.extend(wire::check(&read("docs/wire.md")));
    violations.extend(readme::check(&read("README.md"), &read(".ci/run")));
    for file in &rust_files {
        violations.extend(documentation::check(file));
        violations.extend(mentions::check(file));
        violations.extend(names::check(file));
    }
    for document in &documents {
        let exists = |path: &Path| root.join(path).exists();
        violations.extend(links::check(document, exists));
    }
    let is_library = |package: &&&Package| !layering::TOOLS.contains(&package.name.as_str());
    for package in metadata.workspace_packages().iter().filter(is_library) {
        let directory = package.manifest_path.as_std_path().parent();
        let directory = directory.and_then(|directory| directory.strip_prefix(root).ok());
        let directory = directory.context("a package outside the workspace")?;
        let exists = |file: &str| root.join(directory).join(file).is_file();
        let declared = [
            ("description", package.description.is_some()),
            ("license", package.license.is_some()),
            ("readme", package.readme.is_some()),
            ("rust-version", package.rust_version.is_some()),
            ("keywords", !package.keywords.is_empty()),
            ("categories", !package.categories.is_empty()),
        ];
        let directory = directory.display().to_string();
        violations.extend(layout::check_library(&directory, &declared, exists));
    }

    violations.sort();
    let mut out = io::stdout().lock();
    for violation in &violations {
        writeln!(out, "{violation}")?;
    }
    if !violations.is_empty() {
        bail!("violations of docs/architecture.md: {}", violations.len());
    }
    let (sources, documents) = (rust_files.len(), documents.len());
    writeln!(out, "tidy: {sources} Rust files and {documents} documents are as they should be")?;
    Ok(())
}
