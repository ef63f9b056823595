//! What lies where: the top level of the repository, and what every published crate carries along.

use super::Violation;

const TOP_LEVEL: [&str; 10] = [
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "crates",
    "docs",
    "rustfmt.toml",
    "xtask",
];

/// `cargo package` takes these from the crate's own directory only.
const FILES_OF_A_LIBRARY: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "README.md"];

/// Checks the names at the top level. Dot files are free.
pub(super) fn check_top_level(names: &[String]) -> Vec<Violation> {
    let is_foreign = |name: &&String| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str());
    let foreign = names.iter().filter(is_foreign).map(|name| {
        let why = "a newcomer reads the top level first, so it holds what is listed in \
            xtask/src/tidy/layout.rs and nothing else";
        Violation::new(name, 1, "does not belong at the top level", why)
    });
    foreign.collect()
}

/// Checks that a library brings its licences and its README along.
pub(super) fn check_package(directory: &str, exists: impl Fn(&str) -> bool) -> Vec<Violation> {
    if !directory.starts_with("crates/") {
        return Vec::new();
    }
    let missing = FILES_OF_A_LIBRARY.iter().filter(|file| !exists(file));
    let missing = missing.map(|file| {
        let what = format!("has no {file} beside it");
        let why = "a published crate is read and licensed without this repository";
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
        check_foreign(
            &[".ci", "notes.txt", ".gitignore", "src"],
            &["notes.txt", "src"],
        );
    }

    #[test]
    fn every_library_carries_its_licences_and_its_readme() {
        let found = |directory, present: &[&str]| {
            check_package(directory, |file| present.contains(&file)).len()
        };
        assert_eq!(found("crates/rpc-core", &FILES_OF_A_LIBRARY), 0);
        assert_eq!(found("crates/rpc-core", &["README.md"]), 2);
        assert_eq!(found("xtask", &[]), 0);
    }
}
