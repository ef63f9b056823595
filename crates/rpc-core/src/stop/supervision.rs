//! What rpc-process needs of the core: the parent's view of a server, and a child's.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::libc;

use crate::scoreboard::exit_reason::ExitReason;
use crate::stop::control::Control;
use crate::stop::registered::InHandler;
use crate::stop::signals::{install_crash_handlers, obey, release_signals, reset_child_signals};

/// Held by a process whose children serve. Until it is dropped, signals that stop the server also
/// stop the children, and this process does not end when its own grace is over.
#[derive(Debug)]
#[must_use = "dropping it ends the supervision"]
pub struct Supervision {
    control: Arc<Control>,
}

/// How to stop a server.
#[derive(Clone, Copy, Debug)]
pub struct StopOrder {
    /// How long requests in flight may take.
    pub grace: Duration,
    /// The status with which to kill all children and exit at once; `None` for a graceful stop.
    pub at_once: Option<i32>,
}

impl Supervision {
    pub(crate) fn begin(control: Arc<Control>) -> Supervision {
        control.role.supervises.set();
        // A signal may have come before. From now on the grace is for the children.
        control.limits.grace_ends.store(0, Ordering::SeqCst);
        // Children inherit the handlers, so that not each has to install them.
        install_crash_handlers(&control);
        control.spare_buffers.release_small();
        Supervision { control }
    }

    /// Whether signals stop the server. If so, the parent has to read them.
    pub fn stops_on_signals(&self) -> bool {
        self.control.role.stops_on_signals.is_set()
    }

    /// Does what SIGTERM, SIGINT or SIGQUIT asks for. Other servers of this process that stop on
    /// signals serve nothing meanwhile, so they need no grace.
    pub fn obey(&self, signal: libc::c_int) {
        obey(&self.control, signal, false);
        InHandler::enter().each_control(|other| {
            if other.role.stops_on_signals.is_set() {
                other.stop();
            }
        });
    }

    /// How to stop the server; `None` while it serves.
    pub fn stop_order(&self) -> Option<StopOrder> {
        let control = &self.control;
        let order = StopOrder { grace: control.grace(), at_once: control.role.ends_at_once() };
        control.is_stopping().then_some(order)
    }

    /// The descriptor that becomes readable when the server stops.
    pub fn wake(&self) -> BorrowedFd<'_> {
        self.control.wake()
    }

    /// Makes the descriptor unreadable again.
    pub fn clear_wake(&self) {
        self.control.clear_wake();
    }

    /// Prepares a fork. A `generation` makes the child a worker, which `rpc.stats` shows even while
    /// it serves no connection.
    pub fn before_fork(&self, generation: Option<u32>) -> ForkEntry {
        let scoreboard = &self.control.scoreboard;
        let reserve = |generation| scoreboard.workers().reserve(generation, scoreboard.age_ms());
        let worker = generation.and_then(reserve);
        ForkEntry { control: Arc::clone(&self.control), worker }
    }

    /// Called when the child `pid` retires, so that `rpc.stats` shows it.
    pub fn child_retires(&self, pid: i32) {
        if let Some(worker) = self.control.scoreboard.workers().find(pid) {
            worker.mark_retiring();
        }
    }

    /// Called when the child `pid` has ended: frees its slots and counts its end.
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

/// A fork in progress. Exactly one of the three methods has to be called.
#[derive(Debug)]
#[must_use = "one of the three sides has to be said"]
pub struct ForkEntry {
    control: Arc<Control>,
    worker: Option<usize>,
}

impl ForkEntry {
    /// Called in the parent with the process id of the child.
    pub fn in_parent(self, pid: i32) {
        if let Some(worker) = self.worker {
            self.control.scoreboard.workers().at(worker).set_pid(pid);
        }
    }

    /// Called when the fork has failed.
    pub fn cancel(self) {
        if let Some(worker) = self.worker {
            self.control.scoreboard.workers().at(worker).free();
        }
    }

    /// Called in the child, which reports to its parent through `status_pipe`.
    pub fn in_child(self, status_pipe: Option<OwnedFd>) -> ServingChild {
        self.control.scoreboard.become_worker(self.worker);
        self.control.reports.begin(status_pipe);
        ServingChild { control: self.control }
    }
}

/// The child's own view of itself, as opposed to its parent's.
#[derive(Debug)]
pub struct ServingChild {
    control: Arc<Control>,
}

impl ServingChild {
    /// Gives this process its own wake-up and signal handlers, and no timer. Must be called first,
    /// with all signals blocked.
    ///
    /// # Errors
    ///
    /// When the descriptor cannot be created or the handlers cannot be installed.
    pub fn begin(&self) -> io::Result<()> {
        let role = &self.control.role;
        self.control.scoreboard.forget_own();
        self.control.replace_wake()?;
        self.control.listening.forget();
        role.supervises.clear();
        role.is_child.set();
        role.has_served.clear();
        reset_child_signals(&self.control)
    }

    /// Sends one line to the parent. Does not block.
    pub fn report(&self, line: &[u8]) {
        self.control.reports.send(line);
    }

    /// Lets this process ask for its replacement once it has served this many calls.
    pub fn limit_calls(&self, calls: u64) {
        self.control.reports.limit_calls(calls);
    }
}
