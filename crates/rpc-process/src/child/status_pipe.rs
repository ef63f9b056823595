//! The reports that a child sends through its status pipe: it is ready, it wants a replacement, or
//! why it fails. This is the parent's end; rpc-core has the child's.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read};
use rpc_core::internal::{READY, REPLACE};

use super::Reported;

/// The longest reason, in bytes. A longer one is cut, so that all reports of a worker fit into the
/// smallest possible pipe.
const MAX_REASON_LEN: usize = 1024;

/// One report of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// It is about to accept for the first time.
    Ready,
    /// It serves on, but asks for a replacement.
    Replace,
    /// It ends, for this reason.
    Failed(String),
}

impl Report {
    /// The line that reports [`Failed`](Report::Failed) with this reason.
    pub(crate) fn failed(reason: &str) -> Vec<u8> {
        let bytes = reason.bytes().take(MAX_REASON_LEN);
        let mut line = vec![b'f'];
        line.extend(bytes.map(|byte| if byte == b'\n' { b' ' } else { byte }));
        line.push(b'\n');
        line
    }

    /// `None` for a line that no worker sends: handlers run in its process and may write anything.
    fn parse(line: &[u8]) -> Option<Report> {
        match line {
            READY => Some(Report::Ready),
            REPLACE => Some(Report::Replace),
            [b'f', reason @ .., b'\n'] => {
                Some(Report::Failed(String::from_utf8_lossy(reason).into_owned()))
            }
            _ => None,
        }
    }
}

/// The parent's end, and what was reported through it.
pub(crate) struct StatusPipe {
    pub(crate) reader: OwnedFd,
    pub(crate) reported: Reported,
}

impl StatusPipe {
    /// The parent's end and the child's. Neither blocks.
    pub(crate) fn new() -> io::Result<(StatusPipe, OwnedFd)> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok((StatusPipe { reader, reported: Reported::default() }, writer))
    }

    /// The reports since the last call. Does not block.
    pub(crate) fn read_reports(&mut self) -> Vec<Report> {
        // As much as a pipe holds, so a worker that writes without end cannot hold up the parent.
        let mut buffer = vec![0; 64 * 1024];
        let mut len = 0;
        loop {
            match read(&self.reader, &mut buffer[len..]) {
                Ok(count) if count > 0 => len += count,
                Err(Errno::EINTR) => {}
                _ => break,
            }
        }
        let lines = buffer[..len].split_inclusive(|&byte| byte == b'\n');
        let reports: Vec<_> = lines.filter_map(Report::parse).collect();
        for report in &reports {
            match report {
                Report::Ready => self.reported.is_ready = true,
                Report::Failed(reason) => self.reported.failure = Some(reason.clone()),
                Report::Replace => {}
            }
        }
        reports
    }
}

#[cfg(test)]
mod tests {
    use nix::unistd::write;

    use super::*;

    #[test]
    fn reports_arrive_in_order() {
        let (mut pipe, reporter) = StatusPipe::new().unwrap();
        assert_eq!(pipe.read_reports(), vec![]);
        for line in [
            READY,
            REPLACE,
            &Report::failed(
                "no such
table",
            ),
        ] {
            write(&reporter, line).unwrap();
        }
        let heard = Report::Failed("no such table".to_owned());
        assert_eq!(pipe.read_reports(), vec![Report::Ready, Report::Replace, heard]);
        assert!(pipe.reported.is_ready);
        assert_eq!(pipe.reported.failure.as_deref(), Some("no such table"));
        drop(reporter);
        assert_eq!(pipe.read_reports(), vec![]);
    }

    #[test]
    fn a_long_reason_is_cut_and_a_full_pipe_does_not_block() {
        let (mut pipe, reporter) = StatusPipe::new().unwrap();
        let long = Report::failed(&"ü".repeat(1 << 20));
        for _ in 0..1000 {
            let _ = write(&reporter, &long);
        }
        let reports = pipe.read_reports();
        assert!(reports.contains(&Report::Failed("ü".repeat(MAX_REASON_LEN / 2))));
    }

    #[test]
    fn what_no_worker_says_means_nothing() {
        let (mut pipe, reporter) = StatusPipe::new().unwrap();
        for junk in [&b"\n\n"[..], b"ready\n", b"\xff\xff\n", b"r"] {
            assert_eq!(write(&reporter, junk), Ok(junk.len()));
        }
        assert_eq!(pipe.read_reports(), vec![]);
        assert!(!pipe.reported.is_ready);
    }
}
