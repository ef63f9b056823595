//! The role of a process in its server, and its limits of time.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::sys::flag::Flag;

#[derive(Default)]
pub(crate) struct ProcessRole {
    /// SIGTERM and SIGINT stop the server.
    pub(crate) stops_on_signals: Flag,
    /// Its children serve. It ends them and waits for them, so its own grace must not end it first.
    pub(crate) supervises: Flag,
    /// It was forked to serve, so it may exit without ending the server.
    pub(crate) is_child: Flag,
    /// Its connections are served in other threads than the one that accepts.
    pub(crate) serves_in_threads: Flag,
    /// It has begun to serve connections.
    pub(crate) has_served: Flag,
    /// The server was dropped in this process.
    pub(crate) server_is_dropped: Flag,
    /// It has received SIGINT; a second one ends it at once.
    pub(crate) was_interrupted: Flag,
    /// The status with which a supervising process is to exit at once, 0 if it is not.
    ends_at_once: AtomicI32,
}

impl ProcessRole {
    /// The status with which a supervising process is to kill its children and exit at once, if it
    /// is.
    pub(crate) fn ends_at_once(&self) -> Option<i32> {
        match self.ends_at_once.load(Ordering::SeqCst) {
            0 => None,
            status => Some(status),
        }
    }

    /// Orders a supervising process to exit at once with this status. Async-signal-safe.
    pub(crate) fn end_at_once(&self, status: i32) {
        self.ends_at_once.store(status, Ordering::SeqCst);
    }
}

#[derive(Default)]
pub(crate) struct TimeLimits {
    /// When the grace after a signal is over, as [`now`](crate::sys::clock::now) counts; 0 without
    /// a signal.
    pub(crate) grace_ends: AtomicU64,
    /// The handler of SIGALRM enforces the deadlines of this process.
    pub(crate) are_enforced: Flag,
    /// Deadlines cannot be enforced: the host program has its own handler for SIGALRM, or too many
    /// servers use signals.
    pub(crate) are_unenforceable: Flag,
}
