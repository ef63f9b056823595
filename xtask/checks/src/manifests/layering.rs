//! Which crate may depend on which.

use std::fs;

use cargo_metadata::{DependencyKind, Metadata, Package};

use crate::violation::Violation;

/// What a crate of this workspace may depend on, of this workspace.
struct Layer {
    crates: &'static [&'static str],
    uses: &'static [&'static str],
    /// Its tests and examples may reach further, but also only down.
    tests_use: &'static [&'static str],
}

/// From the bottom to the top. A crate that is listed need not exist.
const LAYERS: &[Layer] = &[
    Layer { crates: &["rpc-proto"], uses: &[], tests_use: &[] },
    // Programs use it beside a server, and so do its tests.
    Layer { crates: &["rpc-daemon"], uses: &[], tests_use: &["rpc-proto", "rpc-core"] },
    Layer { crates: &["rpc-core"], uses: &["rpc-proto"], tests_use: &["rpc-proto"] },
    Layer {
        crates: &["rpc-client"],
        uses: &["rpc-proto"],
        tests_use: &["rpc-proto", "rpc-core", "rpc-process"],
    },
    Layer {
        crates: &["rpc-cli"],
        uses: &["rpc-proto", "rpc-client"],
        tests_use: &["rpc-proto", "rpc-client", "rpc-core"],
    },
    Layer { crates: &["rpc-process"], uses: &["rpc-core"], tests_use: &["rpc-proto", "rpc-core"] },
    Layer {
        crates: &["rpc-server-single", "rpc-server-thread"],
        uses: &["rpc-core"],
        tests_use: &["rpc-proto", "rpc-core", "rpc-daemon"],
    },
    Layer {
        crates: &["rpc-server-fork"],
        uses: &["rpc-core", "rpc-process"],
        tests_use: &["rpc-proto", "rpc-core", "rpc-process", "rpc-daemon"],
    },
    Layer {
        crates: &["rpc-server-prefork"],
        uses: &["rpc-core", "rpc-process", "rpc-daemon"],
        tests_use: &["rpc-proto", "rpc-core", "rpc-process", "rpc-daemon"],
    },
];

/// The only place that knows every model. What lies there is a tool, so it may also use any crate of
/// others.
const TOOLS: &str = "xtask";

/// What the libraries may use from outside without a further reason.
const LIBRARIES: [&str; 6] =
    ["crossbeam-channel", "nix", "serde", "serde_json", "thiserror", "tracing"];

/// One line of a manifest: a crate and what it depends on.
#[derive(Clone, Copy)]
struct Edge<'a> {
    from: &'a str,
    to: &'a str,
    to_workspace: bool,
    for_tests: bool,
}

/// The packages that are not tools.
pub(crate) fn libraries(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    let packages = metadata.workspace_packages().into_iter();
    packages.filter(|package| !manifest(metadata, package).starts_with(TOOLS))
}

/// Where the manifest of a package is, relative to the root of the repository.
pub(crate) fn manifest<'a>(metadata: &Metadata, package: &'a Package) -> &'a str {
    let path = &package.manifest_path;
    path.strip_prefix(&metadata.workspace_root).unwrap_or(path).as_str()
}

/// Checks every dependency that a manifest of a library declares, for whatever target.
pub(crate) fn check(metadata: &Metadata, architecture: &str) -> Vec<Violation> {
    let packages = metadata.workspace_packages();
    let mut violations = Vec::new();
    for package in libraries(metadata) {
        let text = fs::read_to_string(&package.manifest_path).unwrap_or_default();
        for dependency in &package.dependencies {
            let edge = Edge {
                from: &package.name,
                to: &dependency.name,
                to_workspace: packages.iter().any(|other| *other.name == dependency.name),
                for_tests: dependency.kind == DependencyKind::Development,
            };
            if let Some(why) = why_not(edge, architecture) {
                let line = text.lines().position(|line| declares(line, edge.to));
                let line = line.map_or(1, |index| index + 1);
                let what = format!("depends on `{}`", edge.to);
                violations.push(Violation::new(manifest(metadata, package), line, what, why));
            }
        }
    }
    violations
}

/// Whether a line such as `nix = { … }`, `nix.workspace = true` or `[dependencies.nix]` is the one.
fn declares(line: &str, name: &str) -> bool {
    let is_name_char = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    line.split(|c| !is_name_char(c)).any(|word| word == name) && !line.starts_with("name")
}

/// Why a dependency is not allowed, if it is not.
fn why_not(edge: Edge<'_>, architecture: &str) -> Option<String> {
    let layer = LAYERS.iter().find(|layer| layer.crates.contains(&edge.from));
    let Some(layer) = layer else {
        return Some(format!(
            "`{}` has no layer in xtask/checks/src/manifests/layering.rs",
            edge.from
        ));
    };
    match edge {
        Edge { to_workspace: true, for_tests, to, from } => {
            let allowed = if for_tests { layer.tests_use } else { layer.uses };
            (!allowed.contains(&to)).then(|| format!("`{from}` may use {allowed:?} only"))
        }
        // What tests use does not reach those who use the library.
        Edge { for_tests: true, .. } => None,
        Edge { to, .. } => {
            let has_a_reason = architecture.contains(&format!("`{to}`"));
            (!LIBRARIES.contains(&to) && !has_a_reason)
                .then(|| format!("docs/architecture.md gives no reason for `{to}`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_edge(edge: Edge<'_>, allowed: bool) {
        let why = why_not(edge, "We use `libc` because.");
        assert_eq!(why.is_none(), allowed, "{} → {}: {why:?}", edge.from, edge.to);
    }

    #[test]
    fn libraries_depend_downward_only() {
        for (from, to, allowed, allowed_for_tests) in [
            ("rpc-proto", "rpc-core", false, false),
            ("rpc-core", "rpc-proto", true, true),
            ("rpc-core", "rpc-client", false, false),
            ("rpc-core", "rpc-server-single", false, false),
            ("rpc-client", "rpc-proto", true, true),
            ("rpc-client", "rpc-core", false, true),
            ("rpc-client", "rpc-server-thread", false, false),
            ("rpc-server-prefork", "rpc-core", true, true),
            ("rpc-server-prefork", "rpc-proto", false, true),
            ("rpc-server-prefork", "rpc-server-thread", false, false),
            ("rpc-server-fork", "rpc-client", false, false),
            ("rpc-server-fork", "xtask", false, false),
            ("rpc-core", "rpc-process", false, false),
            ("rpc-core", "rpc-daemon", false, false),
            ("rpc-client", "rpc-daemon", false, false),
            ("rpc-cli", "rpc-client", true, true),
            ("rpc-cli", "rpc-core", false, true),
            ("rpc-daemon", "rpc-core", false, true),
            ("rpc-process", "rpc-core", true, true),
            ("rpc-process", "rpc-proto", false, true),
            ("rpc-process", "rpc-daemon", false, false),
            ("rpc-server-thread", "rpc-process", false, false),
            ("rpc-server-fork", "rpc-process", true, true),
            ("rpc-server-fork", "rpc-daemon", false, true),
            ("rpc-server-prefork", "rpc-daemon", true, true),
            ("rpc-server-new", "rpc-core", false, false),
        ] {
            for for_tests in [false, true] {
                let edge = Edge { from, to, to_workspace: true, for_tests };
                let allowed = if for_tests { allowed_for_tests } else { allowed };
                check_edge(edge, allowed);
            }
        }
    }

    #[test]
    fn libraries_give_a_reason_for_what_they_take_from_outside() {
        for (from, to, allowed) in
            [("rpc-core", "nix", true), ("rpc-core", "libc", true), ("rpc-core", "tokio", false)]
        {
            for for_tests in [false, true] {
                let edge = Edge { from, to, to_workspace: false, for_tests };
                check_edge(edge, allowed || for_tests);
            }
        }
    }

    #[test]
    fn the_line_of_a_dependency_is_found() {
        assert!(declares("nix = { workspace = true }", "nix"));
        assert!(declares("rpc-core.workspace = true", "rpc-core"));
        assert!(declares("[dependencies.rpc-core]", "rpc-core"));
        assert!(!declares("rpc-core-extra = \"1\"", "rpc-core"));
        assert!(!declares("name = \"nix\"", "nix"));
    }
}
