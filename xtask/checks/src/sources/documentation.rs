//! What each source file has to say about itself: what it is for, and when to use it.

use crate::repository::TextFile;
use crate::violation::Violation;

/// What the documentation of a library answers, in this order.
const HEADINGS: [&str; 3] = ["# When to use it", "# Example", "# Where to read next"];

pub(crate) fn check(file: &TextFile) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut add = |what: String, why: &str| {
        violations.push(Violation::new(&file.path, 1, what, why));
    };
    if file.path.contains("/src/") && !file.text.starts_with("//!") {
        let why = "a module begins with what it is for";
        add("does not begin with `//!`".into(), why);
    }
    if file.path.starts_with("crates/") && file.path.ends_with("/src/lib.rs") {
        let docs = file.text.lines().map_while(|line| line.strip_prefix("//!"));
        let headings = docs.map(str::trim).filter(|line| HEADINGS.contains(line));
        let headings: Vec<_> = headings.collect();
        if headings != HEADINGS {
            let why = "the docs of every library answer the same questions in the same order";
            add(format!("does not have {HEADINGS:?}"), why);
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "//! What it is.\n//!\n//! # When to use it\n//!\n//! # Example\n//!\n\
        //! # Where to read next\n\npub fn f() {}\n";

    #[track_caller]
    fn check_what(path: &str, text: &str, expected: &[&str]) {
        let file = TextFile { path: path.to_owned(), text: text.to_owned() };
        let found = check(&file);
        let what: Vec<_> = found.iter().map(|found| found.what.as_str()).collect();
        assert_eq!(what, expected, "{path}: {text}");
    }

    #[test]
    fn every_module_begins_with_its_docs() {
        let undocumented = "use std::io;\n//! Too late.";
        let what = ["does not begin with `//!`"];
        check_what("crates/rpc-core/src/service.rs", undocumented, &what);
        check_what("xtask/src/tidy/wire.rs", undocumented, &what);
        check_what("crates/rpc-core/src/service.rs", "//! What it is.", &[]);
        check_what("crates/rpc-core/tests/it/main.rs", undocumented, &[]);
    }

    #[test]
    fn every_library_answers_the_same_questions() {
        let what = [r##"does not have ["# When to use it", "# Example", "# Where to read next"]"##];
        let lib = "crates/rpc-client/src/lib.rs";
        check_what(lib, WHOLE, &[]);
        check_what(lib, &WHOLE.replace("//! # Example\n", ""), &what);
        check_what(lib, &WHOLE.replace("# When to use it", "# When"), &what);
        check_what(lib, &WHOLE.replace("//! # Where", "\n//! # Where"), &what);
    }
}
