//! What a worker says to its master, through a pipe.
//!
//! Each report is one line in one write of at most PIPE_BUF bytes, which a pipe takes whole or not
//! at all (pipe(7)). The worker's end never blocks: a master that does not read is no reason to
//! stop serving.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::unistd::write;

/// A reason is cut to this many bytes, so that every report of a worker fits into the smallest
/// pipe that there is.
pub const MAX_REASON_LEN: usize = 1024;

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It is about to accept for the first time.
    Ready,
    /// It goes on, but somebody else should take its place.
    Replace,
    /// It ends, for this reason.
    Failed(String),
}

/// What [`Report::Replace`] is in the pipe, for a signal handler, which must not allocate.
pub(crate) const REPLACE: &[u8] = b"x\n";

impl Report {
    /// As it travels, with its line break.
    pub fn line(&self) -> Vec<u8> {
        let (letter, reason) = match self {
            Report::Ready => (b'r', ""),
            Report::Replace => (b'x', ""),
            Report::Failed(reason) => (b'f', reason.as_str()),
        };
        let bytes = reason.bytes().take(MAX_REASON_LEN);
        let mut line = vec![letter];
        line.extend(bytes.map(|byte| if byte == b'\n' { b' ' } else { byte }));
        line.push(b'\n');
        line
    }

    /// `None` for what no worker of ours says: handlers share its process and may write anywhere.
    pub fn parse(line: &[u8]) -> Option<Report> {
        match line.split_first()? {
            (b'r', []) => Some(Report::Ready),
            (b'x', []) => Some(Report::Replace),
            (b'f', reason) => Some(Report::Failed(String::from_utf8_lossy(reason).into_owned())),
            _ => None,
        }
    }
}

/// The worker's end.
pub(crate) struct Reporter(OwnedFd);

impl Reporter {
    pub(crate) fn new(pipe: OwnedFd) -> Reporter {
        Reporter(pipe)
    }

    /// A report that cannot be made is dropped: the master learns the rest from the death.
    pub(crate) fn report(&self, report: &Report) {
        let _ = write(&self.0, &report.line());
    }
}

impl AsFd for Reporter {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
