//! One child of a server, as its parent knows it.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use rpc_core::internal::StopOrder;

use super::{ChildExit, Escalation, ExitStatus, Reported, StatusPipe, StopReason};

pub(crate) struct ChildHandle {
    pub(crate) pid: i32,
    born: Instant,
    /// Readable when it has ended, pidfd_open(2).
    pub(crate) pidfd: OwnedFd,
    /// `None` for a child that says nothing and serves from the start.
    pub(crate) status: Option<Box<StatusPipe>>,
    /// How it is being made to end, or will be if nobody calls that off.
    pub(crate) escalation: Option<Box<Escalation>>,
    /// Whether somebody has stopped it (SIGSTOP) and nobody has let it go on.
    is_stopped: bool,
}

impl ChildHandle {
    /// A new child. If it has a status pipe, it has `boot_timeout` to become ready.
    pub(crate) fn new(
        pid: i32,
        pidfd: OwnedFd,
        status: Option<StatusPipe>,
        now: Duration,
        boot_timeout: Duration,
    ) -> ChildHandle {
        let boot = || Box::new(Escalation::new(StopReason::BootTimeout, now, boot_timeout));
        let escalation = status.as_ref().map(|_| boot());
        let status = status.map(Box::new);
        ChildHandle { pid, born: Instant::now(), pidfd, status, escalation, is_stopped: false }
    }

    /// Whether it was told to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.escalation.as_ref().is_some_and(|escalation| escalation.has_begun())
    }

    /// Makes it end within `time`; in a hurry if it is not ready yet, since nobody depends on it.
    pub(crate) fn end(&mut self, why: StopReason, now: Duration, time: Duration) {
        let escalation = Escalation::new(why, now, time);
        self.escalation = Some(Box::new(match &self.status {
            Some(status) if !status.reported.is_ready => escalation.unless_ready(now),
            _ => escalation,
        }));
        self.escalate(now);
    }

    /// The server stops: makes it end, unless it was told so before, or kills it.
    pub(crate) fn stop(&mut self, now: Duration, order: StopOrder) {
        let is_stopping = |escalation: &Escalation| escalation.why == StopReason::Stop;
        if order.at_once.is_some() {
            self.escalation = Some(Box::new(Escalation::kill(now)));
            self.escalate(now);
        } else if !self.escalation.as_deref().is_some_and(is_stopping) {
            self.end(StopReason::Stop, now, order.grace);
        }
    }

    /// It need not end for that reason any more, unless it was told to already.
    fn call_off(&mut self, why: StopReason) {
        self.escalation.take_if(|escalation| escalation.why == why && !escalation.has_begun());
    }

    /// Somebody has stopped it. It has `limit` until somebody must have let it go on, unless it is
    /// ending anyway.
    pub(crate) fn on_stopped(&mut self, now: Duration, limit: Duration) {
        self.is_stopped = true;
        if self.escalation.is_none() {
            self.escalation = Some(Box::new(Escalation::new(StopReason::Hung, now, limit)));
            tracing::warn!(pid = self.pid, ?limit, "worker is stopped");
        }
    }

    /// Somebody has let it go on.
    pub(crate) fn on_continued(&mut self) {
        self.is_stopped = false;
        self.call_off(StopReason::Hung);
    }

    /// It has said that it is ready. It may have been stopped before its word arrived.
    pub(crate) fn on_ready(&mut self, now: Duration, standstill_limit: Duration) {
        self.call_off(StopReason::BootTimeout);
        if let Some(escalation) = &mut self.escalation {
            escalation.become_ready();
        }
        if self.is_stopped {
            self.on_stopped(now, standstill_limit);
        }
    }

    /// Sends the signals that are due.
    pub(crate) fn escalate(&mut self, now: Duration) {
        while let Some(signal) = self.escalation.as_mut().and_then(|next| next.next_signal(now)) {
            self.signal(signal);
        }
    }

    /// Sends a signal. SIGKILL also reaches what the handlers of the child have started.
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid);
        tracing::debug!(pid = self.pid, %signal, "telling a child to end");
        let _ = kill(pid, signal);
        if signal == Signal::SIGKILL {
            let _ = killpg(pid, signal);
        } else {
            // A process that is stopped acts on nothing else.
            let _ = kill(pid, Signal::SIGCONT);
        }
    }

    /// The end of this child, of which the kernel says `status`.
    pub(crate) fn exit(self, status: ExitStatus) -> ChildExit {
        let told = self.escalation.filter(|escalation| escalation.has_begun());
        let killed = told.as_ref().is_some_and(|escalation| escalation.has_killed());
        let serves_from_the_start = Reported { is_ready: true, failure: None };
        let reported = self.status.map_or(serves_from_the_start, |status| status.reported);
        let why = told.map(|escalation| escalation.why);
        ChildExit::new(self.pid, self.born.elapsed(), status, why, killed, reported)
    }
}
