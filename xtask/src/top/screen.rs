//! The terminal: a screen of its own, which is gone when this value is dropped.

use std::io;

use console::Term;

use crate::log;

/// The control sequences of xterm, which every terminal of today knows (ctlseqs of XTerm).
const ENTER_OWN_SCREEN: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE_OWN_SCREEN: &str = "\x1b[?25h\x1b[?1049l";
const TO_THE_TOP: &str = "\x1b[1;1H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// A screen of our own on standard output, without a cursor.
pub(super) struct Screen {
    terminal: Term,
}

impl Screen {
    pub(super) fn open() -> io::Result<Screen> {
        let screen = Screen { terminal: Term::stdout() };
        log::print(ENTER_OWN_SCREEN)?;
        Ok(screen)
    }

    /// Replaces what is shown by as many of these lines as there is room for.
    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let (rows, columns) = self.terminal.size();
        log::print(&picture(lines, rows.into(), columns.into()))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = log::print(LEAVE_OWN_SCREEN);
    }
}

/// Nothing is cleared that is written again at once, so that nothing flickers; and a line that
/// were too long would scroll the rest away.
fn picture(lines: &[String], rows: usize, columns: usize) -> String {
    let room = rows.max(2) - 1;
    let mut shown = lines.to_vec();
    if lines.len() > room {
        shown.truncate(room - 1);
        shown.push(format!("… and {} lines more", lines.len() - room + 1));
    }
    let mut picture = TO_THE_TOP.to_owned();
    for line in &shown {
        let line = console::truncate_str(line, columns, "…");
        picture += &format!("{line}{CLEAR_LINE}\r\n");
    }
    picture + CLEAR_BELOW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(lines: &[&str], rows: usize, expected: &[&str]) {
        let lines: Vec<String> = lines.iter().map(|&line| line.to_owned()).collect();
        let expected: String = expected.iter().map(|line| format!("{line}\x1b[K\r\n")).collect();
        assert_eq!(picture(&lines, rows, 20), format!("\x1b[1;1H{expected}\x1b[J"));
    }

    #[test]
    fn what_has_no_room_is_counted() {
        check(&["a", "b", "c"], 4, &["a", "b", "c"]);
        check(&["a", "b", "c"], 3, &["a", "… and 2 lines more"]);
        check(&["a", "b", "c"], 0, &["… and 3 lines more"]);
        check(&[&"x".repeat(21)], 24, &[&("x".repeat(19) + "…")]);
    }
}
