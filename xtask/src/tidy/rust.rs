//! What a Rust file mentions: its paths, keywords and macros, without comments and literals.
//!
//! Not a parser. It knows as much of the language as the rules need, so that a word in a comment
//! does not count and `use std::{net, thread::{self, Builder}}` counts as what it means.

use std::mem;

/// A path as it stands in the code, with the groups of `use` resolved.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mention {
    pub line: usize,
    /// `std::thread::spawn` is three segments; a macro's last segment ends in `!`.
    pub segments: Vec<String>,
}

impl Mention {
    /// Whether the segments of `path`, such as `thread::spawn`, stand in this mention, one behind
    /// the other.
    pub(super) fn contains(&self, path: &str) -> bool {
        let path: Vec<_> = path.split("::").collect();
        self.segments.windows(path.len()).any(|part| part == path)
    }
}

/// Everything that the text mentions, in the order of the text.
pub(super) fn mentions(text: &str) -> Vec<Mention> {
    let code = blank_out_comments_and_literals(text);
    let mut found = Vec::new();
    // The path that each open brace stands behind: `std` in `std::{…}`, nothing for a block.
    let mut open_groups: Vec<Vec<String>> = Vec::new();
    let mut path = Vec::new();
    let mut path_goes_on = false;
    for (line, token) in tokens(&code) {
        let is_word = token.starts_with(is_word_char);
        if is_word && !path_goes_on {
            path = open_groups.last().cloned().unwrap_or_default();
        }
        match token {
            _ if is_word => {
                // A longer path replaces its beginning, which was pushed before.
                if path_goes_on && !path.is_empty() {
                    found.pop();
                }
                path.push(token.to_owned());
                let segments = path.clone();
                found.push(Mention { line, segments });
            }
            "::" => {}
            "{" if path_goes_on => open_groups.push(mem::take(&mut path)),
            "{" => open_groups.push(Vec::new()),
            "}" => {
                open_groups.pop();
                path.clear();
            }
            _ => path.clear(),
        }
        path_goes_on = token == "::";
    }
    found
}

fn is_word_char(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Words, `::`, and single characters, each with its line. A macro's `!` belongs to its word.
fn tokens(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.lines().enumerate().flat_map(|(index, line)| {
        let mut rest = line;
        std::iter::from_fn(move || {
            rest = rest.trim_start();
            let first = rest.chars().next()?;
            let word_len = rest.find(|c| !is_word_char(c)).unwrap_or(rest.len());
            let behind_word = &rest[word_len..];
            let len = match word_len {
                0 if rest.starts_with("::") => 2,
                0 => first.len_utf8(),
                _ if behind_word.starts_with('!') && !behind_word.starts_with("!=") => word_len + 1,
                _ => word_len,
            };
            let (token, behind) = rest.split_at(len);
            rest = behind;
            Some((index + 1, token))
        })
    })
}

/// The text with spaces in place of comments, strings and characters; lines stay where they are.
fn blank_out_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let inside_a_word = code.ends_with(is_word_char);
        let (skipped, behind) = rest.split_at(comment_or_literal_len(rest, inside_a_word));
        let blank = |c| if c == '\n' { '\n' } else { ' ' };
        code.extend(skipped.chars().map(blank));
        rest = behind;
        if skipped.is_empty() {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    code
}

/// How many bytes of `rest` are a comment or a literal that begins there; 0 where code begins.
fn comment_or_literal_len(rest: &str, inside_a_word: bool) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_len(rest);
    }
    if let Some(string) = rest.strip_prefix('"') {
        return 1 + len_up_to_unescaped(string, '"');
    }
    if let Some(character) = rest.strip_prefix('\'') {
        let mut chars = character.chars();
        let is_lifetime = chars.next() != Some('\\') && chars.next() != Some('\'');
        return if is_lifetime { 0 } else { 1 + len_up_to_unescaped(character, '\'') };
    }
    if !inside_a_word && let Some(len) = raw_string_len(rest) {
        return len;
    }
    0
}

/// Block comments nest.
fn block_comment_len(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        match here {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn len_up_to_unescaped(text: &str, end: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if c == end && !escaped {
            return at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    text.len()
}

fn raw_string_len(rest: &str) -> Option<usize> {
    let behind_letter = ["r", "br", "cr"].iter().find_map(|letter| rest.strip_prefix(letter))?;
    let hashes = behind_letter.len() - behind_letter.trim_start_matches('#').len();
    let string = behind_letter[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let len = string.find(&end).map_or(string.len(), |at| at + end.len());
    Some(rest.len() - string.len() + len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(usize, &str)]) {
        let found: Vec<_> = mentions(text)
            .iter()
            .map(|mention| (mention.line, mention.segments.join("::")))
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|(line, path)| (*line, (*path).to_owned())).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn paths_are_found_with_their_lines() {
        check("a\n  b::c(d)", &[(1, "a"), (2, "b::c"), (2, "d")]);
        check("::std::net", &[(1, "std::net")]);
        check("x::<T>::new", &[(1, "x"), (1, "T"), (1, "new")]);
        check("std::\n  thread", &[(2, "std::thread")]);
    }

    #[test]
    fn groups_of_use_are_resolved() {
        check(
            "use std::{net, thread::{self, Builder}, io};",
            &[
                (1, "use"),
                (1, "std"),
                (1, "std::net"),
                (1, "std::thread"),
                (1, "std::thread::self"),
                (1, "std::thread::Builder"),
                (1, "std::io"),
            ],
        );
        check("a { b }\nc", &[(1, "a"), (1, "b"), (2, "c")]);
    }

    #[test]
    fn macros_end_in_an_exclamation_mark() {
        check("println!(x)", &[(1, "println!"), (1, "x")]);
        check("a != b", &[(1, "a"), (1, "b")]);
        check("a!=b", &[(1, "a"), (1, "b")]);
        check("!a", &[(1, "a")]);
    }

    #[test]
    fn comments_do_not_count() {
        check("a // unsafe\nb", &[(1, "a"), (2, "b")]);
        check("//! unsafe", &[]);
        check("/* x /* y */ z\n */ a", &[(2, "a")]);
        check("a /* never closed", &[(1, "a")]);
    }

    #[test]
    fn literals_do_not_count() {
        check(r#"a("unsafe \" still"); b"#, &[(1, "a"), (1, "b")]);
        check("r#\"x \" y\"#; a", &[(1, "a")]);
        check("br\"x\\\"; a", &[(1, "a")]);
        check("\"two\nlines\"; a", &[(2, "a")]);
        check(r"'\''; '\\'; 'x'; '{'; a", &[(1, "a")]);
        check("\"never closed", &[]);
    }

    #[test]
    fn lifetimes_are_not_characters() {
        check("<'a> b 'c'", &[(1, "a"), (1, "b")]);
        check("for_r\"x\" a", &[(1, "for_r"), (1, "a")]);
    }
}
