//! The constants in docs/wire.md are those of the code.

use rpc_proto::{ErrorCode, MAX_FRAME_LEN, PREFIX_LEN};

use crate::violation::Violation;

const FILE: &str = "docs/wire.md";

const CONSTANTS: [(&str, usize); 2] =
    [("PREFIX_LEN", PREFIX_LEN), ("MAX_FRAME_LEN", MAX_FRAME_LEN)];

/// Compares the rows of the tables that begin with an error code or with the name of a constant.
pub(crate) fn check(document: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut listed_codes = Vec::new();
    let mut listed_constants = Vec::new();
    let mut add = |line, what| {
        let why = "clients are written from this document";
        violations.push(Violation::new(FILE, line, what, why));
    };

    for (index, row) in document.lines().enumerate() {
        let line = index + 1;
        let cells = cells(row);
        let Some(key) = cells.first().and_then(|cell| in_backticks(cell)) else {
            continue;
        };
        let cell = |index: usize| cells.get(index).copied().unwrap_or_default();
        if let Some(number) = error_code(key) {
            match ErrorCode::from_code(number) {
                None => add(line, format!("lists {number}, which is no ErrorCode")),
                Some(code) => {
                    let (name, text) = (format!("{code:?}"), code.text());
                    if in_backticks(cell(1)) != Some(&name) || cell(2) != text {
                        add(line, format!("{number} is not listed as `{name}` | {text}"));
                    }
                    listed_codes.push(code);
                }
            }
        } else if is_constant_name(key) {
            match CONSTANTS.iter().find(|(name, _)| *name == key) {
                None => add(line, format!("lists `{key}`, which is no constant of the wire")),
                Some((name, value)) => {
                    if cell(1) != value.to_string() || cell(2) != "bytes" {
                        add(line, format!("`{name}` is not listed as {value} | bytes"));
                    }
                    listed_constants.push(*name);
                }
            }
        }
    }

    let names = CONSTANTS.map(|(name, _)| name);
    for name in names.iter().filter(|name| !listed_constants.contains(name)) {
        add(1, format!("does not list `{name}`"));
    }
    let missing = ErrorCode::ALL.iter().filter(|code| !listed_codes.contains(code));
    for code in missing.clone() {
        add(1, format!("does not list {} (`{code:?}`)", code.code()));
    }
    if missing.count() == 0 && listed_codes != ErrorCode::ALL {
        add(1, "lists the error codes twice or in another order than ErrorCode::ALL".into());
    }
    violations
}

/// The cells of a row of a table, without the spaces around them.
fn cells(row: &str) -> Vec<&str> {
    match row.trim().strip_prefix('|') {
        Some(row) => row.split('|').map(str::trim).collect(),
        None => Vec::new(),
    }
}

fn in_backticks(cell: &str) -> Option<&str> {
    let inside = cell.strip_prefix('`')?.strip_suffix('`')?;
    (!inside.contains('`')).then_some(inside)
}

fn error_code(key: &str) -> Option<i32> {
    key.starts_with('-').then(|| key.parse().ok()).flatten()
}

fn is_constant_name(key: &str) -> bool {
    key.len() > 1 && key.contains('_') && key.chars().all(|c| c.is_ascii_uppercase() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A document that lists everything as it is.
    fn whole() -> String {
        let codes = ErrorCode::ALL
            .iter()
            .map(|code| format!("| `{}` | `{code:?}` | {code} | goes on |\n", code.code()));
        let constants = CONSTANTS.map(|(name, value)| format!("| `{name}` | {value} | bytes |\n"));
        let unrelated = "| `GET `, `PUT ` | HTTP |\n| `16 03` | TLS |\n| limit | 8 |\n";
        codes.chain(constants).chain([unrelated.to_owned()]).collect()
    }

    #[track_caller]
    fn check_what(replaced: &str, by: &str, expected: &[&str]) {
        let document = whole();
        assert!(document.contains(replaced), "{replaced}");
        let found = check(&document.replacen(replaced, by, 1));
        let what: Vec<_> = found.iter().map(|found| found.what.as_str()).collect();
        assert_eq!(what, expected, "{replaced} → {by}");
    }

    #[test]
    fn a_true_document_passes() {
        check_what("", "", &[]);
    }

    #[test]
    fn every_code_has_its_name_and_its_text() {
        let parse_error = ["-32700 is not listed as `ParseError` | parse error"];
        check_what("`ParseError`", "`ParseFailure`", &parse_error);
        check_what("`ParseError`", "ParseError", &parse_error);
        check_what("| parse error |", "| parser error |", &parse_error);
        let unknown = "lists -32099, which is no ErrorCode";
        let missing = "does not list -32000 (`Busy`)";
        check_what("`-32000`", "`-32099`", &[unknown, missing]);
    }

    #[test]
    fn every_code_is_listed_once_and_in_order() {
        let busy = "| `-32000` | `Busy` | busy | goes on |\n";
        check_what(busy, "", &["does not list -32000 (`Busy`)"]);
        let order = ["lists the error codes twice or in another order than ErrorCode::ALL"];
        check_what(busy, &busy.repeat(2), &order);
        check_what("| `-32700`", &format!("{busy}| `-32700`"), &order);
    }

    #[test]
    fn every_constant_has_its_value() {
        let prefix = ["`PREFIX_LEN` is not listed as 4 | bytes"];
        check_what("| 4 |", "| 8 |", &prefix);
        check_what("| 4 | bytes |", "| 4 | bits |", &prefix);
        check_what("| `MAX_FRAME_LEN` |", "| limit |", &["does not list `MAX_FRAME_LEN`"]);
        let unknown = "lists `FRAME_LEN`, which is no constant of the wire";
        let missing = "does not list `MAX_FRAME_LEN`";
        check_what("`MAX_FRAME_LEN`", "`FRAME_LEN`", &[unknown, missing]);
    }

    #[test]
    fn a_missing_document_lists_nothing() {
        assert_eq!(check("").len(), ErrorCode::ALL.len() + CONSTANTS.len());
    }
}
