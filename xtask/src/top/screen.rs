//! The terminal: a screen of its own, which is gone when this value is dropped.

use std::io::{self, Write};

use console::Term;

/// The alternate screen of xterm, which every terminal of today has; without a cursor.
const OPEN: &str = "\x1b[?1049h\x1b[?25l";
const CLOSE: &str = "\x1b[?25h\x1b[?1049l";

const HOME: &str = "\x1b[H";
const CLEAR_REST_OF_LINE: &str = "\x1b[K";
const CLEAR_REST_OF_SCREEN: &str = "\x1b[J";

/// A screen of our own on standard output.
pub(super) struct Screen {
    terminal: Term,
}

impl Screen {
    pub(super) fn open() -> io::Result<Screen> {
        let screen = Screen { terminal: Term::stdout() };
        write_all(OPEN)?;
        Ok(screen)
    }

    /// Replaces what is shown by as many of these lines as there is room for.
    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let (rows, columns) = self.terminal.size();
        write_all(&picture(lines, rows.into(), columns.into()))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write_all(CLOSE);
    }
}

/// Nothing is cleared that is written again at once, so that nothing flickers; and a line that
/// were too long would scroll the rest away.
fn picture(lines: &[String], rows: usize, columns: usize) -> String {
    let room = rows.max(2) - 1;
    let mut picture = HOME.to_owned();
    let mut add = |line: &str| {
        let line = console::truncate_str(line, columns, "…");
        picture.push_str(&format!("{line}{CLEAR_REST_OF_LINE}\r\n"));
    };
    if lines.len() <= room {
        lines.iter().for_each(|line| add(line));
    } else {
        lines[..room - 1].iter().for_each(|line| add(line));
        add(&format!("… and {} lines more", lines.len() - room + 1));
    }
    picture.push_str(CLEAR_REST_OF_SCREEN);
    picture
}

/// In one piece, past the buffer of standard output.
fn write_all(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], rows: usize, expected: &[&str]) {
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        let expected: String = expected.iter().map(|line| format!("{line}\x1b[K\r\n")).collect();
        assert_eq!(picture(&lines, rows, 20), format!("\x1b[H{expected}\x1b[J"));
    }

    #[test]
    fn what_has_no_room_is_counted() {
        check(&["a", "b", "c"], 4, &["a", "b", "c"]);
        check(&["a", "b", "c"], 3, &["a", "… and 2 lines more"]);
        check(&["a", "b", "c"], 0, &["… and 3 lines more"]);
        check(&[&"x".repeat(21)], 24, &[&("x".repeat(19) + "…")]);
    }
}
