//! What a worker reports to its parent through a pipe.
//!
//! Each report is one line in one write of at most PIPE_BUF bytes, which is atomic (pipe(7)). The
//! worker's end never blocks, so that a worker keeps serving even if its parent does not read.
#![allow(unsafe_code)]

use std::os::fd::{IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};

use nix::libc;

/// The worker is about to accept for the first time.
pub const READY: &[u8] = b"r\n";

/// The worker keeps serving, but asks for another one to replace it.
pub const REPLACE: &[u8] = b"x\n";

/// The reports of a process to its parent, if it is a worker.
pub(crate) struct StatusReports {
    /// The writing end, which is open until the process ends; -1 if there is none.
    pipe: AtomicI32,
    /// How many calls are left until this process asks for its replacement.
    calls_left: AtomicI64,
}

/// The process never asks for its replacement.
const NO_LIMIT: i64 = i64::MAX;

impl StatusReports {
    pub(crate) const fn none() -> StatusReports {
        StatusReports { pipe: AtomicI32::new(-1), calls_left: AtomicI64::new(NO_LIMIT) }
    }

    /// Called in a new child: sets its own pipe in place of its parent's, and no limit of calls.
    pub(crate) fn begin(&self, pipe: Option<OwnedFd>) {
        self.calls_left.store(NO_LIMIT, Ordering::Relaxed);
        let pipe = pipe.map_or(-1, IntoRawFd::into_raw_fd);
        let of_parent = self.pipe.swap(pipe, Ordering::SeqCst);
        if of_parent >= 0 {
            // SAFETY: this type owned the descriptor.
            unsafe { libc::close(of_parent) };
        }
    }

    /// Sends one line. A line that the pipe does not take is lost; the parent also reads the exit
    /// status. Async-signal-safe.
    pub(crate) fn send(&self, line: &[u8]) {
        let pipe = self.pipe.load(Ordering::SeqCst);
        // SAFETY: the bytes are live. The descriptor is -1 or the non-blocking status pipe.
        unsafe { libc::write(pipe, line.as_ptr().cast(), line.len()) };
    }

    /// Lets the process ask for its replacement after this many calls.
    pub(crate) fn limit_calls(&self, calls: u64) {
        let calls = i64::try_from(calls).unwrap_or(NO_LIMIT);
        self.calls_left.store(calls, Ordering::Relaxed);
    }

    /// Counts a call, if there is a limit of calls.
    #[inline]
    pub(crate) fn count_call(&self) {
        if self.calls_left.load(Ordering::Relaxed) != NO_LIMIT
            && self.calls_left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.send(REPLACE);
        }
    }
}
