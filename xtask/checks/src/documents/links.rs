//! Links between the documents lead somewhere.

use std::path::{Component, Path, PathBuf};

use crate::repository::TextFile;
use crate::violation::Violation;

/// Checks every relative link of a Markdown document; `exists` is asked with paths that are
/// relative to the root of the repository.
pub(crate) fn check(document: &TextFile, exists: impl Fn(&Path) -> bool) -> Vec<Violation> {
    let directory = Path::new(&document.path).parent().unwrap_or(Path::new(""));
    let mut violations = Vec::new();
    for (line, target) in targets(&document.text) {
        let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
        let path = target.split('#').next().unwrap_or_default();
        if is_elsewhere || path.is_empty() {
            continue;
        }
        let leads_somewhere = resolve(&directory.join(path)).is_some_and(|path| exists(&path));
        if !leads_somewhere {
            let what = format!("links to `{target}`, which does not exist");
            let why = "links are relative to the document and stay in the repository";
            violations.push(Violation::new(&document.path, line, what, why));
        }
    }
    violations
}

/// Removes `.` and `..`; nothing if the path leaves the repository.
fn resolve(path: &Path) -> Option<PathBuf> {
    let mut resolved = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => resolved.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !resolved.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(resolved)
}

/// The targets of `[text](target)` and `[label]: target`, outside of code, with their lines.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut in_code_block = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code_block = !in_code_block;
        }
        if in_code_block {
            continue;
        }
        // Every second piece between backticks is code.
        for piece in line.split('`').step_by(2) {
            let inline = piece.split("](").skip(1);
            let inline = inline.filter_map(|behind| behind.split([')', ' ']).next());
            found.extend(inline.map(|target| (index + 1, target)));
        }
        if line.starts_with('[')
            && let Some((_, target)) = line.split_once("]:")
        {
            found.push((index + 1, target.trim()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_broken(path: &str, text: &str, expected: &[usize]) {
        let document = TextFile { path: path.to_owned(), text: text.to_owned() };
        let present = ["README.md", "docs/wire.md", "crates/rpc-core/src/lib.rs"];
        let found = check(&document, |path| present.map(Path::new).contains(&path));
        let lines: Vec<_> = found.iter().map(|found| found.line).collect();
        assert_eq!(lines, expected, "{path}: {text}");
    }

    #[test]
    fn links_lead_to_files_that_exist() {
        check_broken("README.md", "see [wire](docs/wire.md) and [x](docs/x.md)", &[1]);
        check_broken("README.md", "\n[wire](wire.md), [a](x)[b](y)", &[2, 2, 2]);
        check_broken("docs/wire.md", "[up](../README.md) [here](./wire.md)", &[]);
        check_broken("docs/wire.md", "[core](../crates/rpc-core/src/lib.rs)", &[]);
        check_broken("docs/wire.md", "[core](crates/rpc-core/src/lib.rs)", &[1]);
        check_broken("README.md", "[`serve`](docs/serve.md)", &[1]);
    }

    #[test]
    fn the_part_behind_the_hash_is_not_a_file() {
        check_broken("README.md", "[codes](docs/wire.md#error-codes) [up](#top)", &[]);
        check_broken("README.md", "[codes](docs/codes.md#error-codes)", &[1]);
    }

    #[test]
    fn links_stay_in_the_repository() {
        check_broken("README.md", "[x](../elsewhere.md) [y](/docs/wire.md)", &[1, 1]);
        check_broken("README.md", "[x](https://example.com/x) [y](mailto:a@b)", &[]);
    }

    #[test]
    fn definitions_are_links_and_code_is_not() {
        check_broken("README.md", "[wire]: docs/wire.md\n[x]: docs/x.md", &[2]);
        check_broken("README.md", "`[x](y)`\n```\n[x](y)\n```\n[x](y)", &[5]);
    }
}
