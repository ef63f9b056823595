//! What a child says through its status pipe: that it is ready, that it wants a replacement, or why
//! it fails. This is the parent's end; the child's is the core's.

use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{pipe2, read};
use rpc_core::internal::{READY, REPLACE};

use super::Reported;

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

impl Report {
    /// That it ends, for this reason, as it travels.
    pub(crate) fn failed(reason: &str) -> Vec<u8> {
        let bytes = reason.bytes().take(MAX_REASON_LEN);
        let mut line = vec![b'f'];
        line.extend(bytes.map(|byte| if byte == b'\n' { b' ' } else { byte }));
        line.push(b'\n');
        line
    }

    /// `None` for what no worker of ours says: handlers share its process and may write anywhere.
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

/// The parent's end, and what was heard through it.
pub(crate) struct StatusPipe {
    pub(crate) reader: OwnedFd,
    pub(crate) reported: Reported,
}

impl StatusPipe {
    /// This end and the child's, which does not block.
    pub(crate) fn new() -> io::Result<(StatusPipe, OwnedFd)> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        Ok((StatusPipe { reader, reported: Reported::default() }, writer))
    }

    /// What has come since the last look.
    pub(crate) fn read_reports(&mut self) -> Vec<Report> {
        // As much as a pipe holds: a worker that writes without a pause gains one look.
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
