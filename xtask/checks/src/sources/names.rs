//! Names that say nothing, and files that say too much.

use syn::ItemMod;
use syn::visit::{self, Visit};

use crate::repository::TextFile;
use crate::violation::Violation;

const NAMES_WITHOUT_MEANING: [&str; 5] = ["util", "utils", "common", "helpers", "types"];

const MAX_LINES: usize = 500;

const WHY_NAMED: &str = "a name says what its subject is; whatever fits in there fits anywhere";

pub(crate) fn check(file: &TextFile, syntax: &syn::File) -> Vec<Violation> {
    let mut violations = Vec::new();
    let stem = file.path.strip_suffix(".rs").unwrap_or(&file.path);
    for name in stem.split('/').filter(|part| NAMES_WITHOUT_MEANING.contains(part)) {
        let what = format!("is called `{name}`");
        violations.push(Violation::new(&file.path, 1, what, WHY_NAMED));
    }
    Finder { file: &file.path, violations: &mut violations }.visit_file(syntax);
    let lines = file.text.lines().count();
    if file.path.starts_with("crates/") && file.path.contains("/src/") && lines > MAX_LINES {
        let what = format!("has {lines} lines, more than {MAX_LINES}");
        violations.push(Violation::new(&file.path, lines, what, "a file has one subject"));
    }
    violations
}

struct Finder<'a> {
    file: &'a str,
    violations: &'a mut Vec<Violation>,
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let name = item.ident.to_string();
        if NAMES_WITHOUT_MEANING.contains(&name.as_str()) {
            let line = item.ident.span().start().line;
            let what = format!("has a module `{name}`");
            self.violations.push(Violation::new(self.file, line, what, WHY_NAMED));
        }
        visit::visit_item_mod(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_what(path: &str, text: &str, expected: &[&str]) {
        let file = TextFile { path: path.to_owned(), text: text.to_owned() };
        let found = check(&file, &syn::parse_file(text).unwrap());
        let what: Vec<_> = found.iter().map(|found| found.what.as_str()).collect();
        assert_eq!(what, expected, "{path}: {text}");
    }

    #[test]
    fn no_file_has_a_name_without_meaning() {
        check_what("xtask/src/utils.rs", "", &["is called `utils`"]);
        check_what("crates/rpc-core/tests/common/mod.rs", "", &["is called `common`"]);
        check_what("crates/rpc-core/src/types.rs", "", &["is called `types`"]);
        check_what("crates/rpc-core/src/commonwealth.rs", "", &[]);
    }

    #[test]
    fn no_module_has_a_name_without_meaning() {
        let path = "crates/rpc-core/src/lib.rs";
        check_what(path, "pub mod\n    helpers { }", &["has a module `helpers`"]);
        check_what(path, "mod util;", &["has a module `util`"]);
        check_what(path, "// mod util;\nconst A: u8 = types;", &[]);
    }

    #[test]
    fn no_library_file_is_too_long() {
        let what = ["has 501 lines, more than 500"];
        check_what("crates/rpc-core/src/process.rs", &"\n".repeat(501), &what);
        check_what("crates/rpc-core/src/process.rs", &"\n".repeat(500), &[]);
        check_what("crates/rpc-core/tests/it/main.rs", &"\n".repeat(501), &[]);
    }
}
