//! Which file may import from which, and how many files share a folder.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::Import;
use crate::repository::TextFile;
use crate::violation::Violation;

/// The folders of a crate; imports run from one to those behind it.
const ORDER: &[(&str, &[&str])] =
    &[("crates/rpc-core/src", &["accept", "serve", "stop", "scoreboard", "sys"])];

const MAX_FILES_IN_A_FOLDER: usize = 12;

/// Checks what the files of one crate need of each other.
pub(crate) fn check(imports: &[Import]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for circle in circles(imports) {
        let folders: BTreeSet<_> = circle.iter().map(|file| folder(file)).collect();
        if circle.len() > 2 || folders.len() > 1 {
            violations.push(describe(&circle, imports));
        }
    }
    for import in imports {
        for (source, order) in ORDER {
            let place = |file: &str| {
                let inside = file.strip_prefix(source)?.strip_prefix('/')?;
                order.iter().position(|folder| inside.starts_with(&format!("{folder}/")))
            };
            if let (Some(from), Some(to)) = (place(&import.from), place(&import.to))
                && from > to
            {
                let what = format!("imports `{}` of {}", import.name, import.to);
                let why = format!("imports run {}", order.join(" → "));
                violations.push(Violation::new(&import.from, import.line, what, why));
            }
        }
    }
    violations
}

/// Checks the folders in the sources.
pub(crate) fn check_folders(files: &[TextFile]) -> Vec<Violation> {
    let mut folders: BTreeMap<&str, usize> = BTreeMap::new();
    let sources = files.iter().map(|file| file.path.as_str());
    for file in sources.filter(|file| file.contains("/src/")) {
        *folders.entry(folder(file)).or_default() += 1;
    }
    let mut violations = Vec::new();
    for (folder, count) in folders {
        if count > MAX_FILES_IN_A_FOLDER {
            let what = format!("has {count} files, more than {MAX_FILES_IN_A_FOLDER}");
            violations.push(Violation::new(folder, 1, what, "a folder has one subject"));
        }
        let says_what_belongs_here = format!("{folder}/mod.rs");
        let has_it = files.iter().any(|file| file.path == says_what_belongs_here);
        if !folder.ends_with("/src") && !has_it {
            let why = "it says what belongs in the folder";
            violations.push(Violation::new(folder, 1, "has no mod.rs", why));
        }
    }
    violations
}

/// The files that lead to each other, a set for each circle.
fn circles(imports: &[Import]) -> BTreeSet<BTreeSet<&str>> {
    let mut reached = BTreeMap::new();
    for start in imports.iter().map(|import| import.from.as_str()) {
        let mut files = BTreeSet::new();
        let mut pending = vec![start];
        while let Some(file) = pending.pop() {
            let needed = imports.iter().filter(|import| import.from == file);
            pending.extend(needed.map(|import| &*import.to).filter(|file| files.insert(*file)));
        }
        reached.insert(start, files);
    }
    let mut circles = BTreeSet::new();
    for (file, files) in &reached {
        let leads_back = |other: &&str| reached.get(other).is_some_and(|it| it.contains(file));
        let circle: BTreeSet<_> = files.iter().copied().filter(leads_back).collect();
        if !circle.is_empty() {
            circles.insert(circle);
        }
    }
    circles
}

/// All that ties a circle together, in one line.
fn describe(circle: &BTreeSet<&str>, imports: &[Import]) -> Violation {
    let mut ties: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    let inside = |file: &String| circle.contains(file.as_str());
    let of_circle = || imports.iter().filter(|import| inside(&import.from) && inside(&import.to));
    for import in of_circle() {
        ties.entry((&import.from, &import.to)).or_default().push(&import.name);
    }
    let ties = ties.iter().map(|((from, to), names)| {
        format!("{} uses {} of {}", inside_src(from), names.join(", "), inside_src(to))
    });
    let ties: Vec<_> = ties.collect();
    let (file, line) =
        of_circle().next().map_or(("", 1), |import| (import.from.as_str(), import.line));
    let what = format!("{} files import in a circle: {}", circle.len(), ties.join("; "));
    Violation::new(file, line, what, "two files that are one subject may, in one folder")
}

fn folder(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn inside_src(file: &str) -> &str {
    file.split_once("/src/").map_or(file, |(_, inside)| inside)
}

#[cfg(test)]
mod tests {
    use super::super::modules::Modules;
    use super::*;

    /// Checks a crate in `crates/rpc-core/src` that consists of these files.
    #[track_caller]
    fn check_what(files: &[(&str, &str)], expected: &[&str]) {
        let file = |(path, text): &(&str, &str)| TextFile {
            path: format!("crates/rpc-core/src/{path}"),
            text: (*text).to_owned(),
        };
        let files: Vec<_> = files.iter().map(file).collect();
        let modules = Modules::read(&files, "crates/rpc-core/src/lib.rs").unwrap();
        let found = check(&modules.imports());
        let what: Vec<_> = found
            .iter()
            .map(|found| format!("{}:{}: {}", found.file, found.line, found.what))
            .map(|what| what.replace("crates/rpc-core/src/", ""))
            .collect();
        assert_eq!(what, expected);
    }

    const ROOT: (&str, &str) = ("lib.rs", "mod a; mod b; mod c;");

    #[test]
    fn three_files_may_not_import_in_a_circle() {
        let a = ("a.rs", "use crate::b::B; pub struct A;");
        let b = ("b.rs", "use super::c; pub struct B(c::C);");
        let c = ("c.rs", "\npub struct C(Vec<Option<crate::a::A>>);");
        let what = "a.rs:1: 3 files import in a circle: a.rs uses B of b.rs; b.rs uses C of c.rs; \
            c.rs uses A of a.rs";
        check_what(&[ROOT, a, b, c], &[what]);
        check_what(&[ROOT, a, b, ("c.rs", "pub struct C;")], &[]);
        check_what(&[ROOT, a, b, ("c.rs", "#[cfg(test)] mod tests { use crate::a::A; }")], &[]);
        let in_code = ("c.rs", "pub fn c() { assert!(crate::a::A::new().is_empty()); }");
        check_what(
            &[ROOT, a, ("b.rs", "use crate::c::c; pub struct B;"), in_code],
            &["a.rs:1: 3 files import in a circle: a.rs uses B of b.rs; b.rs uses c of c.rs; \
                c.rs uses A of a.rs"],
        );
    }

    #[test]
    fn two_files_of_one_folder_may() {
        let a = ("a.rs", "use crate::b::B; pub struct A;");
        let b = ("b.rs", "use crate::a::A; pub struct B;");
        check_what(&[("lib.rs", "mod a; mod b;"), a, b], &[]);
        let a = ("a.rs", "use crate::sub::b::B; pub struct A;");
        let files =
            [("lib.rs", "mod a; mod sub;"), a, ("sub/mod.rs", "pub mod b;"), ("sub/b.rs", b.1)];
        let what = "a.rs:1: 2 files import in a circle: a.rs uses B of sub/b.rs; \
            sub/b.rs uses A of a.rs";
        check_what(&files, &[what]);
    }

    #[test]
    fn a_file_that_passes_names_on_is_in_no_circle() {
        let root = ("lib.rs", "mod a; mod sub; pub use a::A; pub use sub::{B, C as D};");
        let sub = (
            "sub/mod.rs",
            "//! What belongs here.\nmod b; mod c;\n\
            pub(crate) use b::B;\npub(crate) use c::C;",
        );
        let a = ("a.rs", "use crate::sub::{self, B}; pub struct A(B, sub::C);");
        let b = ("sub/b.rs", "use super::C; pub struct B;");
        let c = ("sub/c.rs", "use std::io; pub struct C(io::Error);");
        check_what(&[root, a, sub, b, c], &[]);
        let back = ("sub/c.rs", "use crate::D; use crate::A as Other; pub struct C(Other);");
        check_what(
            &[root, a, sub, b, back],
            &[
                "a.rs:1: 3 files import in a circle: a.rs uses B of sub/b.rs; a.rs uses C of sub/c.rs; \
                sub/b.rs uses C of sub/c.rs; sub/c.rs uses A of a.rs",
            ],
        );
    }

    #[test]
    fn folders_import_in_one_direction() {
        let root = ("lib.rs", "mod stop; mod sys;");
        let stop = ("stop/mod.rs", "pub struct Stop; pub(crate) fn stop() { crate::sys::exit() }");
        let sys = ("sys/mod.rs", "\npub fn exit() { }");
        check_what(&[root, stop, sys], &[]);
        let sys = ("sys/mod.rs", "\npub fn exit(_: crate::stop::Stop) { }");
        let stop = ("stop/mod.rs", "pub struct Stop;");
        check_what(&[root, stop, sys], &["sys/mod.rs:2: imports `Stop` of stop/mod.rs"]);
    }

    #[test]
    fn a_folder_is_small_and_says_what_belongs_in_it() {
        let check = |folder: &str, names: std::ops::Range<usize>| {
            let files = names.map(|number| TextFile {
                path: match number {
                    0 => format!("{folder}/mod.rs"),
                    _ => format!("{folder}/file{number}.rs"),
                },
                text: String::new(),
            });
            let found = check_folders(&files.collect::<Vec<_>>());
            found.into_iter().map(|found| found.what).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(check("crates/rpc-core/src/serve", 0..12), none);
        assert_eq!(check("crates/rpc-core/src/serve", 0..13), ["has 13 files, more than 12"]);
        assert_eq!(check("crates/rpc-core/src/serve", 1..2), ["has no mod.rs"]);
        assert_eq!(check("crates/rpc-core/src", 1..2), none);
        assert_eq!(check("crates/rpc-core/tests/it", 1..20), none);
        assert_eq!(check("xtask/src", 0..13), ["has 13 files, more than 12"]);
        assert_eq!(check("xtask/bench/src/growth", 1..2), ["has no mod.rs"]);
    }
}
