//! What a server logs, kept for the case that something goes wrong.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context as _;

/// How many lines are kept.
const KEPT_LINES: usize = 20;

/// The lines that servers wrote last to standard error.
#[derive(Clone, Default)]
pub(crate) struct ServerLog(Arc<Mutex<VecDeque<String>>>);

impl ServerLog {
    /// Keeps what the program of `command` will log. A thread reads that until the last of its
    /// processes has ended.
    pub(crate) fn attach(&self, command: &mut Command) -> anyhow::Result<()> {
        let (reader, writer) = io::pipe().context("cannot make a pipe for the server's log")?;
        command.stderr(writer);
        let log = self.clone();
        thread::Builder::new().name("server-log".into()).spawn(move || {
            let lines = BufReader::new(reader).lines();
            lines.map_while(Result::ok).for_each(|line| log.push(line));
        })?;
        Ok(())
    }

    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().cloned().collect()
    }
}
