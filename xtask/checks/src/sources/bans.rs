//! Who is free of a ban. The compiler and clippy enforce the bans themselves: `[workspace.lints]` in
//! Cargo.toml and the clippy.toml of the workspace or of a crate list them.

use syn::visit::Visit;
use syn::{Attribute, Meta};

use super::modules::Modules;
use crate::repository::TextFile;
use crate::violation::Violation;

const UNSAFE: &str = "unsafe_code";

/// Lints that are bans, and groups that hold such. Only unsafe code is banned in tests too.
const BANS: [&str; 9] = [
    UNSAFE,
    "warnings",
    "clippy::all",
    "clippy::restriction",
    "clippy::style",
    "clippy::disallowed_macros",
    "clippy::disallowed_methods",
    "clippy::print_stdout",
    "clippy::print_stderr",
];

/// Who may lift a ban. A path that ends in `/` stands for all that is below it.
const LIFTED: &[(&str, &str)] = &[
    ("crates/rpc-core/src/scoreboard/slot.rs", UNSAFE),
    ("crates/rpc-core/src/scoreboard/table.rs", UNSAFE),
    ("crates/rpc-core/src/stop/control.rs", UNSAFE),
    ("crates/rpc-core/src/stop/handlers.rs", UNSAFE),
    ("crates/rpc-core/src/stop/registered.rs", UNSAFE),
    ("crates/rpc-core/src/stop/shared_listening.rs", UNSAFE),
    ("crates/rpc-core/src/stop/signals.rs", UNSAFE),
    ("crates/rpc-core/src/stop/status_pipe.rs", UNSAFE),
    ("crates/rpc-core/src/sys/", UNSAFE),
    ("crates/rpc-daemon/src/inherited.rs", UNSAFE),
    ("crates/rpc-process/src/child/table.rs", UNSAFE),
    ("crates/rpc-process/src/kernel.rs", UNSAFE),
    // The method `sleep`.
    ("xtask/src/serve/methods.rs", "clippy::disallowed_methods"),
    // Generated code.
    ("xtask/peers/varlink/src/main.rs", "clippy::all"),
];

/// What a crate may not name at all: clippy can forbid functions and types, but no whole modules.
const FORBIDDEN_MODULES: [&str; 5] =
    ["std::net", "std::os", "std::process", "std::thread", "std::time"];
const CRATE_WITHOUT_THEM: &str = "crates/rpc-proto/src/";

/// Finds the attributes that lift a ban where nobody may.
pub(crate) fn check(file: &TextFile, syntax: &syn::File) -> Vec<Violation> {
    let mut finder = Finder { lifted: Vec::new() };
    finder.visit_file(syntax);
    let mut violations = Vec::new();
    for (line, lint) in finder.lifted {
        let is_in_question = lint == UNSAFE || file.path.contains("/src/");
        let may = LIFTED.iter().any(|(path, lifted)| {
            let is_there = file.path == *path || path.ends_with('/') && file.path.starts_with(path);
            *lifted == lint && is_there
        });
        if is_in_question && !may {
            let why = "xtask/checks/src/sources/bans.rs lists who may";
            violations.push(Violation::new(&file.path, line, format!("allows `{lint}`"), why));
        }
    }
    violations
}

/// The lints that a file allows.
struct Finder {
    lifted: Vec<(usize, &'static str)>,
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_attribute(&mut self, attribute: &'ast Attribute) {
        let Meta::List(list) = &attribute.meta else {
            return;
        };
        if ["allow", "expect", "cfg_attr"].iter().any(|name| list.path.is_ident(name)) {
            let line = attribute.pound_token.spans[0].start().line;
            let lints = list.tokens.to_string().replace(' ', "");
            let banned = BANS.into_iter().filter(|ban| lints.contains(ban));
            self.lifted.extend(banned.map(|ban| (line, ban)));
        }
    }
}

/// Finds where rpc-proto names what it may not.
pub(crate) fn check_paths(modules: &Modules) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (file, mention) in modules.mentions() {
        let path = mention.path.join("::");
        let is_inside = |module: &&&str| path.strip_prefix(**module).is_some_and(ends_a_name);
        if file.starts_with(CRATE_WITHOUT_THEM)
            && let Some(module) = FORBIDDEN_MODULES.iter().find(is_inside)
        {
            let why = "rpc-proto is bytes and types: no socket, no process, no thread, no clock";
            violations.push(Violation::new(file, mention.line, format!("names `{module}`"), why));
        }
    }
    violations
}

fn ends_a_name(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with("::")
}

/// Checks that no crate gets by the bans of the workspace: that its manifest takes the lints over,
/// and that its own clippy.toml, if it has one, lists what that of the workspace lists.
pub(crate) fn check_settings(file: &TextFile, clippy_of_workspace: &str) -> Vec<Violation> {
    let missing = |needed: &str| !file.text.contains(needed);
    let mut violations = Vec::new();
    if file.path.ends_with("/Cargo.toml") && file.text.contains("[package]") {
        if missing("[lints]\nworkspace = true\n") {
            let what = "has no `[lints]` with `workspace = true`";
            let why = "the bans are lints of the workspace";
            violations.push(Violation::new(&file.path, 1, what, why));
        }
    } else if file.path.ends_with("/clippy.toml") {
        let bans = clippy_of_workspace.lines().filter(|line| line.trim_start().starts_with('{'));
        for ban in bans.filter(|ban| missing(ban)) {
            let why = "clippy reads this file in place of the workspace's";
            let what = format!("lacks {}", ban.trim());
            violations.push(Violation::new(&file.path, 1, what, why));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[track_caller]
    fn check_what(path: &str, text: &str, expected: &[&str]) {
        let found = check(&file(path, text), &syn::parse_file(text).unwrap());
        let what: Vec<_> = found.iter().map(|it| format!("{}: {}", it.line, it.what)).collect();
        assert_eq!(what, expected, "{path}: {text}");
    }

    #[test]
    fn unsafe_code_is_allowed_only_in_the_modules_that_talk_to_the_kernel() {
        let text = "fn f() {\n    #[allow(unsafe_code)]\n    unsafe { g() }\n}";
        let what = ["2: allows `unsafe_code`"];
        check_what("crates/rpc-core/src/accept/acceptor.rs", text, &what);
        check_what("crates/rpc-core/tests/it/main.rs", text, &what);
        check_what("crates/rpc-client/src/kernel.rs", text, &what);
        check_what("crates/rpc-process/src/kernel.rs", text, &[]);
        check_what("crates/rpc-core/src/sys/clock.rs", text, &[]);
        let what = ["1: allows `unsafe_code`"];
        check_what("xtask/src/log.rs", "#![cfg_attr(unix, allow(unsafe_code))]", &what);
        check_what("xtask/src/log.rs", "#![expect(dead_code, unsafe_code)]", &what);
        check_what("xtask/src/log.rs", "#![forbid(unsafe_code)]", &[]);
    }

    #[test]
    fn other_bans_are_lifted_by_tests_and_the_method_sleep_only() {
        let text = "#![allow(clippy::print_stdout)]\n#![expect(clippy::disallowed_methods)]";
        let (prints, calls) =
            ("1: allows `clippy::print_stdout`", "2: allows `clippy::disallowed_methods`");
        check_what("crates/rpc-client/src/lib.rs", text, &[prints, calls]);
        check_what("xtask/src/serve/methods.rs", text, &[prints]);
        check_what("crates/rpc-client/tests/it/main.rs", text, &[]);
        let group = ["1: allows `clippy::all`"];
        check_what("crates/rpc-client/src/lib.rs", "#![allow(clippy::all)]", &group);
        check_what("crates/rpc-client/src/lib.rs", "#![allow(clippy::len_zero)]", &[]);
    }

    #[test]
    fn proto_knows_bytes_and_types_only() {
        let text = "use std::net::IpAddr;\nuse std::{\n    io, os::fd,\n    time::Instant};\n\
            fn f() {\n    std::process::exit(1);\n    assert!(std::thread::panicking());\n}\n\
            use std::io::Read;";
        let lines = |crate_name: &str| {
            let root = format!("crates/{crate_name}/src/lib.rs");
            let modules = Modules::read(&[file(&root, text)], &root).unwrap();
            let lines: Vec<_> = check_paths(&modules).iter().map(|found| found.line).collect();
            lines
        };
        assert_eq!(lines("rpc-proto"), [1, 3, 4, 6, 7]);
        assert_eq!(lines("rpc-client"), [0; 0]);
    }

    #[test]
    fn no_crate_gets_by_the_bans_of_the_workspace() {
        let clippy = "# All.\nmethods = [\n    { path = \"a\" },\n    { path = \"b\" },\n]\n";
        let what = |name: &str, text: &str| {
            let found = check_settings(&file(&format!("crates/rpc-core/{name}"), text), clippy);
            found.into_iter().map(|found| found.what).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(what("clippy.toml", &format!("{clippy}types = []")), none);
        let other = clippy.replace("\"b\"", "\"c\"");
        assert_eq!(what("clippy.toml", &other), ["lacks { path = \"b\" },"]);
        let manifest = "[package]\n\n[lints]\nworkspace = true\n";
        assert_eq!(what("Cargo.toml", manifest), none);
        let lints = ["has no `[lints]` with `workspace = true`"];
        assert_eq!(what("Cargo.toml", &manifest.replace("[lints]", "[dependencies.lints]")), lints);
        assert_eq!(what("Cargo.toml", "[workspace]\n"), none);
    }
}
