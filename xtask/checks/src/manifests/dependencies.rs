//! What the crates of this workspace bring along, however deep: no library an asynchronous runtime,
//! and nobody a licence that is not on the list.

use std::collections::BTreeSet;

use cargo_metadata::{DependencyKind, Metadata, PackageId};
use spdx::{Expression, ParseMode};

use super::layering;
use crate::violation::Violation;

/// Crates that run futures, or wait for many descriptors on behalf of those that do.
const RUNTIMES: [&str; 15] = [
    "actix-rt",
    "async-executor",
    "async-io",
    "async-std",
    "compio",
    "embassy-executor",
    "futures-executor",
    "glommio",
    "io-uring",
    "mio",
    "monoio",
    "pollster",
    "smol",
    "tokio",
    "tokio-uring",
];

/// Licences of others under which MIT and Apache-2.0 remain what a user of this workspace gets.
const LICENCES: [&str; 9] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Checks all packages that are resolved for the workspace.
pub(crate) fn check(metadata: &Metadata, lock: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    for library in layering::libraries(metadata) {
        if let Some(way) = way_to_a_runtime(metadata, &library.id) {
            let manifest = layering::manifest(metadata, library);
            let what = format!("has an asynchronous runtime below it: {}", way.join(" → "));
            violations.push(Violation::new(manifest, 1, what, "every call here blocks"));
        }
    }
    for package in &metadata.packages {
        let licence = package.license.as_deref().unwrap_or("none");
        let is_allowed = Expression::parse_mode(licence, ParseMode::LAX).is_ok_and(|expression| {
            expression.evaluate(|asked| {
                asked.license.id().is_some_and(|licence| LICENCES.contains(&licence.name))
            })
        });
        if !is_allowed {
            let entry = format!("name = \"{}\"", package.name);
            let line = lock.lines().position(|line| line == entry).map_or(1, |index| index + 1);
            let what = format!("`{}` has the licence {licence}", package.name);
            let why = "xtask/checks/src/manifests/dependencies.rs lists those that may be";
            violations.push(Violation::new("Cargo.lock", line, what, why));
        }
    }
    violations
}

/// The names of the packages by which a package depends on a runtime, both ends included. What only
/// tests use does not count.
fn way_to_a_runtime<'a>(metadata: &'a Metadata, from: &PackageId) -> Option<Vec<&'a str>> {
    let nodes = &metadata.resolve.as_ref()?.nodes;
    let mut seen = BTreeSet::new();
    let mut pending = vec![(from, Vec::new())];
    while let Some((package, mut way)) = pending.pop() {
        let name = metadata[package].name.as_str();
        way.push(name);
        if RUNTIMES.contains(&name) {
            return Some(way);
        }
        let node = nodes.iter().find(|node| node.id == *package)?;
        for dependency in &node.deps {
            let is_for_tests = |kind: DependencyKind| kind == DependencyKind::Development;
            let used = dependency.dep_kinds.iter().any(|info| !is_for_tests(info.kind));
            if used && seen.insert(&dependency.pkg) {
                pending.push((&dependency.pkg, way.clone()));
            }
        }
    }
    None
}
