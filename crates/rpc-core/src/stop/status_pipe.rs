//! What a worker says to its master, through a pipe.
//!
//! Each report is one line in one write of at most PIPE_BUF bytes, which a pipe takes whole or not
//! at all (pipe(7)). The worker's end never blocks: a master that does not read is no reason to
//! stop serving.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use nix::libc;
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
const REPLACE: &[u8] = b"x\n";

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

/// What a process has to say to its parent, if it is a worker.
pub(crate) struct StatusReports {
    pipe: Mutex<Option<OwnedFd>>,
    /// The same without a lock, for a signal handler; -1 if there is none.
    descriptor: AtomicI32,
    /// Calls until this process asks for its replacement.
    calls_left: AtomicI64,
}

/// No call is the last that this process should serve.
const NO_LIMIT: i64 = i64::MAX;

impl StatusReports {
    pub(crate) const fn none() -> StatusReports {
        StatusReports {
            pipe: Mutex::new(None),
            descriptor: AtomicI32::new(-1),
            calls_left: AtomicI64::new(NO_LIMIT),
        }
    }

    /// In a new child: its own pipe, and no limit of calls.
    pub(crate) fn begin(&self, pipe: Option<OwnedFd>) {
        self.calls_left.store(NO_LIMIT, Ordering::Relaxed);
        self.descriptor.store(pipe.as_ref().map_or(-1, AsRawFd::as_raw_fd), Ordering::SeqCst);
        *self.pipe.lock().unwrap_or_else(PoisonError::into_inner) = pipe;
    }

    /// A report that cannot be made is dropped: the parent learns the rest from the exit.
    pub(crate) fn report(&self, report: &Report) {
        let pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = &*pipe {
            let _ = write(pipe, &report.line());
        }
    }

    /// Asks for a replacement after so many calls.
    pub(crate) fn limit_calls(&self, calls: u64) {
        let calls = i64::try_from(calls).unwrap_or(NO_LIMIT);
        self.calls_left.store(calls, Ordering::Relaxed);
    }

    /// Counts a call, if somebody wants that.
    #[inline]
    pub(crate) fn count_call(&self) {
        if self.calls_left.load(Ordering::Relaxed) != NO_LIMIT
            && self.calls_left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.report(&Report::Replace);
        }
    }

    /// Tells the parent that a thread of this worker is lost: its handler did not return in time,
    /// and its other connections must not suffer. Async-signal-safe, and may come again.
    pub(crate) fn ask_for_replacement(&self) {
        let pipe = self.descriptor.load(Ordering::SeqCst);
        // SAFETY: the words are live bytes. The descriptor is -1 or the status pipe, which a
        // worker keeps open as long as it lives and which does not block.
        unsafe { libc::write(pipe, REPLACE.as_ptr().cast(), REPLACE.len()) };
    }
}
