//! The status pipe: what a worker says to its master.
//!
//! Each report is one line in one write of at most PIPE_BUF bytes, which a pipe takes whole or not
//! at all (pipe(7)). The worker's end never blocks: a master that does not read is no reason to
//! stop serving.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read, write};

use crate::death::Said;

/// A reason is cut to this many bytes, so that every report of a worker fits into the smallest
/// pipe that there is.
const MAX_REASON_LEN: usize = 1024;

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
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
    fn line(&self) -> Vec<u8> {
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
    fn parse(line: &[u8]) -> Option<Report> {
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

/// The master's end, and what was heard through it.
pub(crate) struct StatusPipe {
    reader: OwnedFd,
    said: Said,
}

impl StatusPipe {
    pub(crate) fn new() -> io::Result<(StatusPipe, Reporter)> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok((StatusPipe { reader, said: Said::default() }, Reporter(writer)))
    }

    /// What has come since the last look, and whether there can come more.
    pub(crate) fn hear(&mut self) -> (Vec<Report>, bool) {
        // As much as a pipe holds: a worker that writes without a pause gains one look.
        let mut buffer = vec![0; 64 * 1024];
        let mut len = 0;
        let is_open = loop {
            match read(&self.reader, &mut buffer[len..]) {
                Ok(0) => break len == buffer.len(),
                Ok(count) => len += count,
                Err(Errno::EINTR) => {}
                Err(errno) => break errno == Errno::EAGAIN,
            }
        };
        let lines = buffer[..len].split_inclusive(|&byte| byte == b'\n');
        let reports: Vec<_> =
            lines.filter_map(|line| Report::parse(line.strip_suffix(b"\n")?)).collect();
        for report in &reports {
            match report {
                Report::Ready => self.said.is_ready = true,
                Report::Failed(reason) => self.said.failure = Some(reason.clone()),
                Report::Replace => {}
            }
        }
        (reports, is_open)
    }

    /// All that was heard.
    pub(crate) fn said(&self) -> &Said {
        &self.said
    }
}

impl AsFd for StatusPipe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_arrive_in_order_and_the_end_is_seen() {
        let (mut pipe, reporter) = StatusPipe::new().unwrap();
        assert_eq!(pipe.hear(), (vec![], true));
        let failed = Report::Failed("no such\ntable".to_owned());
        for report in [&Report::Ready, &Report::Replace, &failed] {
            reporter.report(report);
        }
        let heard = Report::Failed("no such table".to_owned());
        assert_eq!(pipe.hear(), (vec![Report::Ready, Report::Replace, heard], true));
        assert!(pipe.said().is_ready);
        assert_eq!(pipe.said().failure.as_deref(), Some("no such table"));
        drop(reporter);
        assert_eq!(pipe.hear(), (vec![], false));
    }

    #[test]
    fn a_long_reason_is_cut_and_a_full_pipe_does_not_block() {
        let (mut pipe, reporter) = StatusPipe::new().unwrap();
        let long = Report::Failed("ü".repeat(1 << 20));
        for _ in 0..1000 {
            reporter.report(&long);
        }
        let (reports, is_open) = pipe.hear();
        assert!(is_open);
        assert!(reports.contains(&Report::Failed("ü".repeat(MAX_REASON_LEN / 2))));
    }

    #[test]
    fn what_no_worker_says_means_nothing() {
        let (mut pipe, reporter) = StatusPipe::new().unwrap();
        for junk in [&b"\n\n"[..], b"ready\n", b"\xff\xff\n", b"r"] {
            assert_eq!(write(&reporter.0, junk), Ok(junk.len()));
        }
        assert_eq!(pipe.hear(), (vec![], true));
        assert!(!pipe.said().is_ready);
    }
}
