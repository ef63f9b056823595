//! `cargo xtask tidy`: the parts of docs/architecture.md that a machine can check.
//!
//! A module a family of rules. A rule is a function from text to violations and looks at nothing
//! else, so that a test can show it a text that breaks it.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use cargo_metadata::{CargoOpt, MetadataCommand, Target};

use crate::documents::{links, readme, wire};
use crate::manifests::{dependencies, layering, layout};
use crate::repository::{TextFile, read_all, top_level};
use crate::sources::modules::Modules;
use crate::sources::{bans, documentation, imports, names};

/// Checks the workspace that the current directory is in, prints every violation as one line
/// `path:line: what (why)`.
///
/// # Errors
///
/// When there is a violation, or something cannot be read.
pub(crate) fn run() -> anyhow::Result<()> {
    // For one target, so that nothing is downloaded that no build needs.
    let target = ["--filter-platform", "x86_64-unknown-linux-gnu"].map(str::to_owned);
    let metadata = MetadataCommand::new()
        .features(CargoOpt::AllFeatures)
        .other_options(target)
        .exec()
        .context("cannot read the workspace")?;
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
    violations.extend(dependencies::check(&metadata, &read("Cargo.lock")));
    violations.extend(layout::check_top_level(&top_level(root)?));
    violations.extend(wire::check(&read("docs/wire.md")));
    violations.extend(readme::check(&read("README.md"), &read(".ci/run")));
    for file in &rust_files {
        let syntax = syn::parse_file(&file.text).with_context(|| file.path.clone())?;
        violations.extend(documentation::check(file));
        violations.extend(bans::check(file, &syntax));
        violations.extend(names::check(file, &syntax));
    }
    for file in read_all(root, &["crates", "xtask"], "toml")? {
        violations.extend(bans::check_settings(&file, &read("clippy.toml")));
    }
    for document in &documents {
        let exists = |path: &Path| root.join(path).exists();
        violations.extend(links::check(document, exists));
    }
    violations.extend(imports::check_folders(&rust_files));
    for package in metadata.workspace_packages() {
        let is_program = |target: &&Target| target.is_lib() || target.is_bin();
        for target in package.targets.iter().filter(is_program) {
            let file = target.src_path.strip_prefix(&metadata.workspace_root)?;
            let modules = Modules::read(&rust_files, file.as_str())?;
            violations.extend(bans::check_paths(&modules));
            violations.extend(imports::check(&modules.imports()));
        }
    }
    for package in layering::libraries(&metadata) {
        let directory = layering::manifest(&metadata, package).trim_end_matches("/Cargo.toml");
        let exists = |file: &str| root.join(directory).join(file).is_file();
        let declared = [
            ("description", package.description.is_some()),
            ("license", package.license.is_some()),
            ("readme", package.readme.is_some()),
            ("rust-version", package.rust_version.is_some()),
            ("keywords", !package.keywords.is_empty()),
            ("categories", !package.categories.is_empty()),
        ];
        violations.extend(layout::check_library(directory, &declared, exists));
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
