//! What the parent of serving processes may do with the state that it shares with them.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::libc;

use crate::scoreboard::exit_reason::ExitReason;
use crate::stop::control::Control;
use crate::stop::registered::is_signalled;
use crate::stop::signals::{install_crash_handlers, obey, release_signals, reset_child_signals};
use crate::sys::clock::NEVER;

/// Held by a process whose children serve: until it is dropped, signals that stop the server are
/// for the children too, and this process does not end at the end of its own grace.
#[derive(Debug)]
#[must_use = "dropping it ends the supervision"]
pub struct Supervision {
    control: Arc<Control>,
}

/// How a server is to stop.
#[derive(Clone, Copy, Debug)]
pub struct StopOrder {
    /// How long requests in flight may take.
    pub grace: Duration,
    /// The status to end with at once, with all children killed; `None` for an orderly stop.
    pub at_once: Option<i32>,
}

impl Supervision {
    pub(crate) fn begin(control: Arc<Control>) -> Supervision {
        control.role.supervises.set();
        // A signal may have come before; the grace is for the children now.
        control.limits.grace_ends.store(NEVER, Ordering::SeqCst);
        // Children inherit the handlers, and need not make their own one by one.
        install_crash_handlers(&control);
        Supervision { control }
    }

    /// Whether signals stop the server, so that they are to be read by the parent.
    pub fn stops_on_signals(&self) -> bool {
        is_signalled(&self.control)
    }

    /// Does what SIGTERM, SIGINT or SIGQUIT asks for.
    pub fn obey(&self, signal: libc::c_int) {
        obey(&self.control, signal, false);
    }

    /// How the server is to stop; `None` as long as it serves.
    pub fn stop_order(&self) -> Option<StopOrder> {
        let control = &self.control;
        let order = StopOrder { grace: control.grace(), at_once: control.role.ends_at_once() };
        control.is_stopping().then_some(order)
    }

    /// The descriptor that becomes readable when the server is told to stop.
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.control.wake()
    }

    /// Makes the descriptor unreadable again.
    pub fn clear_wake(&self) {
        self.control.clear_wake();
    }

    /// What both sides of a fork must tell the others. `generation` makes the child a worker, which
    /// the server's stats show even while it serves nobody.
    pub fn before_fork(&self, generation: Option<u32>) -> ForkEntry {
        let scoreboard = &self.control.scoreboard;
        let reserve = |generation| scoreboard.workers().reserve(generation, scoreboard.age_ms());
        let worker = generation.and_then(reserve);
        ForkEntry { control: Arc::clone(&self.control), worker }
    }

    /// The child `pid` was told to retire.
    pub fn child_retires(&self, pid: i32) {
        if let Some(worker) = self.control.scoreboard.workers().find(pid) {
            worker.mark_retiring();
        }
    }

    /// The child `pid` has ended: its slots are free again, and its end is counted.
    pub fn child_gone(&self, pid: i32, reason: ExitReason) {
        self.control.scoreboard.release_all_of(pid);
        self.control.scoreboard.counters().count_exit(reason);
    }
}

impl Drop for Supervision {
    fn drop(&mut self) {
        self.control.role.supervises.clear();
        release_signals(&self.control);
    }
}

/// A fork that is under way.
#[derive(Debug)]
#[must_use = "one of the three sides has to be said"]
pub struct ForkEntry {
    control: Arc<Control>,
    worker: Option<usize>,
}

impl ForkEntry {
    /// In the parent: the child has this process id.
    pub fn in_parent(self, pid: i32) {
        if let Some(worker) = self.worker {
            self.control.scoreboard.workers().at(worker).set_pid(pid);
        }
    }

    /// There is no child.
    pub fn cancel(self) {
        if let Some(worker) = self.worker {
            self.control.scoreboard.workers().at(worker).free();
        }
    }

    /// In the child. It speaks to its parent through `status_pipe`.
    pub fn in_child(self, status_pipe: Option<OwnedFd>) -> ServingChild {
        self.control.scoreboard.become_worker(self.worker);
        self.control.reports.begin(status_pipe);
        ServingChild { control: self.control }
    }
}

/// A child of a server, seen from inside.
#[derive(Debug)]
pub struct ServingChild {
    control: Arc<Control>,
}

impl ServingChild {
    /// Gives this process a wake-up and signal handlers of its own, and no timer. To be called
    /// first, with all signals blocked.
    ///
    /// # Errors
    ///
    /// When the descriptor or the handlers cannot be had.
    pub fn begin(&self) -> io::Result<()> {
        let role = &self.control.role;
        self.control.replace_wake()?;
        self.control.listening.forget();
        role.supervises.clear();
        role.is_child.set();
        role.has_served.clear();
        reset_child_signals(&self.control)
    }

    /// Says one line to the parent.
    pub fn report(&self, line: &[u8]) {
        self.control.reports.send(line);
    }

    /// Lets this process ask for its replacement once it has served so many calls.
    pub fn limit_calls(&self, calls: u64) {
        self.control.reports.limit_calls(calls);
    }
}
