//! What lies where: the top level of the repository, and what every published crate carries along.

use crate::violation::Violation;

const TOP_LEVEL: [&str; 11] = [
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "clippy.toml",
    "crates",
    "docs",
    "rustfmt.toml",
    "xtask",
];

/// `cargo package` takes these from the crate's own directory only.
const FILES_OF_A_LIBRARY: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// Checks the names at the top level. Dot files are free.
pub(crate) fn check_top_level(names: &[String]) -> Vec<Violation> {
    let is_foreign = |name: &&String| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str());
    let foreign = names.iter().filter(is_foreign).map(|name| {
        let why = "a newcomer reads the top level first, so it holds what is listed in \
            xtask/checks/src/manifests/layout.rs and nothing else";
        Violation::new(name, 1, "does not belong at the top level", why)
    });
    foreign.collect()
}

/// What a library says about itself and brings along; `declared` are the fields of its manifest and
/// whether they are there.
pub(crate) fn check_library(
    directory: &str,
    declared: &[(&str, bool)],
    exists: impl Fn(&str) -> bool,
) -> Vec<Violation> {
    let fields = declared.iter().filter(|(_, is_there)| !is_there);
    let fields = fields.map(|(field, _)| format!("has no `{field}`"));
    let files = FILES_OF_A_LIBRARY.iter().filter(|file| !exists(file));
    let files = files.map(|file| format!("has no {file} beside it"));
    let missing = fields.chain(files).map(|what| {
        let why = "a published crate is found, read and licensed without this repository";
        Violation::new(&format!("{directory}/Cargo.toml"), 1, what, why)
    });
    missing.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_foreign(names: &[&str], expected: &[&str]) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let found = check_top_level(&names);
        let foreign: Vec<_> = found.iter().map(|found| found.file.as_str()).collect();
        assert_eq!(foreign, expected);
    }

    #[test]
    fn nothing_foreign_lies_at_the_top_level() {
        check_foreign(&TOP_LEVEL, &[]);
        check_foreign(&[".ci", "notes.txt", ".gitignore", "src"], &["notes.txt", "src"]);
    }

    #[test]
    fn every_library_can_be_published() {
        let missing = |described, present: &[&str]| {
            let declared = [("description", described), ("license", true)];
            let found = check_library("crates/new", &declared, |file| present.contains(&file));
            found.into_iter().map(|found| found.what).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(missing(true, &FILES_OF_A_LIBRARY), none);
        assert_eq!(missing(false, &FILES_OF_A_LIBRARY), ["has no `description`"]);
        let licences = ["LICENSE-APACHE", "LICENSE-MIT"];
        assert_eq!(missing(true, &licences), ["has no README.md beside it"]);
    }
}
