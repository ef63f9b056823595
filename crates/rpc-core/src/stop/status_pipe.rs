//! What a worker says to its parent, through a pipe.
//!
//! Each report is one line in one write of at most PIPE_BUF bytes, which a pipe takes whole or not
//! at all (pipe(7)). The worker's end never blocks: a parent that does not read is no reason to
//! stop serving.
#![allow(unsafe_code)]

use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};

use nix::libc;

/// It is about to accept for the first time.
pub const READY: &[u8] = b"r\n";

/// It goes on, but somebody else should take its place.
pub const REPLACE: &[u8] = b"x\n";

/// What a process has to say to its parent, if it is a worker.
pub(crate) struct StatusReports {
    /// The writing end, which is open as long as the process lives; -1 if there is none.
    pipe: AtomicI32,
    /// Calls until this process asks for its replacement.
    calls_left: AtomicI64,
}

/// No call is the last that this process should serve.
const NO_LIMIT: i64 = i64::MAX;

impl StatusReports {
    pub(crate) const fn none() -> StatusReports {
        StatusReports { pipe: AtomicI32::new(-1), calls_left: AtomicI64::new(NO_LIMIT) }
    }

    /// In a new child: its own pipe in place of its parent's, and no limit of calls.
    pub(crate) fn begin(&self, pipe: Option<OwnedFd>) {
        self.calls_left.store(NO_LIMIT, Ordering::Relaxed);
        let pipe = pipe.map_or(-1, IntoRawFd::into_raw_fd);
        let of_parent = self.pipe.swap(pipe, Ordering::SeqCst);
        // SAFETY: -1, which close(2) refuses, or a descriptor that this type owned.
        unsafe { libc::close(of_parent) };
    }

    /// Says one line. One that cannot be said is dropped: the parent learns the rest from the exit.
    /// Async-signal-safe.
    pub(crate) fn send(&self, line: &[u8]) {
        let pipe = self.pipe.load(Ordering::SeqCst);
        // SAFETY: the bytes are live. The descriptor is -1 or the status pipe, which does not block.
        unsafe { libc::write(pipe, line.as_ptr().cast(), line.len()) };
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
            self.send(REPLACE);
        }
    }
}
