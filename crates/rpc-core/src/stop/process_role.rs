//! What a process is to its server, and whether its time is watched.

use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use crate::sys::clock::NEVER;
use crate::sys::flag::Flag;

#[derive(Default)]
pub(crate) struct ProcessRole {
    /// Its children serve: it waits for them and ends them, so its own time must not be cut short.
    pub(crate) supervises: Flag,
    /// It was forked to serve: it may end without harm to the server.
    pub(crate) is_child: Flag,
    /// Other threads serve than the one that accepts.
    pub(crate) serves_in_threads: Flag,
    /// It has begun to serve connections.
    pub(crate) has_served: Flag,
    /// Its server is gone.
    pub(crate) server_is_dropped: Flag,
    pub(crate) was_interrupted: Flag,
    /// The status with which a supervising process ends at once, 0 while it does not.
    ends_at_once: AtomicI32,
}

impl ProcessRole {
    /// The status with which a supervising process should end at once, its children killed.
    pub(crate) fn ends_at_once(&self) -> Option<i32> {
        match self.ends_at_once.load(Ordering::SeqCst) {
            0 => None,
            status => Some(status),
        }
    }

    /// Async-signal-safe.
    pub(crate) fn end_at_once(&self, status: i32) {
        self.ends_at_once.store(status, Ordering::SeqCst);
    }
}

pub(crate) struct TimeLimits {
    /// When the grace after a signal is over, as [`now`](crate::sys::clock::now) counts; [`NEVER`]
    /// before the signal.
    pub(crate) grace_ends: AtomicU64,
    /// SIGALRM's handler looks after the deadlines of this process,
    pub(crate) are_enforced: Flag,
    /// or cannot.
    pub(crate) are_unenforceable: Flag,
}

impl TimeLimits {
    pub(crate) fn none() -> TimeLimits {
        TimeLimits {
            grace_ends: AtomicU64::new(NEVER),
            are_enforced: Flag::default(),
            are_unenforceable: Flag::default(),
        }
    }
}
