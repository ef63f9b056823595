//! What a parent knows about one child of a server.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use rpc_core::internal::StopOrder;

use super::{ChildExit, Escalation, ExitStatus, Reported, StatusPipe, StopReason};

pub(crate) struct ChildHandle {
    pub(crate) pid: i32,
    born: Instant,
    /// Readable when the child has ended: pidfd_open(2).
    pub(crate) pidfd: OwnedFd,
    /// `None` for a child that reports nothing and serves from the start.
    pub(crate) status: Option<Box<StatusPipe>>,
    /// How it is being made to end, or will be unless that is called off.
    pub(crate) escalation: Option<Box<Escalation>>,
    /// Whether it is stopped (SIGSTOP).
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

    /// Whether it was sent a signal to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.escalation.as_ref().is_some_and(|escalation| escalation.has_begun())
    }

    /// Makes it end within `time`; within 1 s if it is not ready yet, since no peer depends on it.
    pub(crate) fn end(&mut self, why: StopReason, now: Duration, time: Duration) {
        let escalation = Escalation::new(why, now, time);
        self.escalation = Some(Box::new(match &self.status {
            Some(status) if !status.reported.is_ready => escalation.unless_ready(now),
            _ => escalation,
        }));
        self.escalate(now);
    }

    /// The server stops: makes it end unless it is stopping already, or kills it.
    pub(crate) fn stop(&mut self, now: Duration, order: StopOrder) {
        let is_stopping = |escalation: &Escalation| escalation.why == StopReason::Stop;
        if order.at_once.is_some() {
            self.escalation = Some(Box::new(Escalation::kill(now)));
            self.escalate(now);
        } else if !self.escalation.as_deref().is_some_and(is_stopping) {
            self.end(StopReason::Stop, now, order.grace);
        }
    }

    /// Calls off ending it for this reason, unless a signal was sent already.
    fn call_off(&mut self, why: StopReason) {
        self.escalation.take_if(|escalation| escalation.why == why && !escalation.has_begun());
    }

    /// It was stopped (SIGSTOP). It must be continued within `limit`, unless it is ending anyway.
    pub(crate) fn on_stopped(&mut self, now: Duration, limit: Duration) {
        self.is_stopped = true;
        if self.escalation.is_none() {
            self.escalation = Some(Box::new(Escalation::new(StopReason::Hung, now, limit)));
            tracing::warn!(pid = self.pid, ?limit, "worker is stopped");
        }
    }

    /// It was continued (SIGCONT).
    pub(crate) fn on_continued(&mut self) {
        self.is_stopped = false;
        self.call_off(StopReason::Hung);
    }

    /// It has reported that it is ready. It may have been stopped before the report arrived.
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

    /// Sends a signal. SIGKILL also goes to programs that the child's handlers have started.
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid);
        tracing::debug!(pid = self.pid, %signal, "sending a signal to a child");
        let _ = kill(pid, signal);
        if signal == Signal::SIGKILL {
            let _ = killpg(pid, signal);
        } else {
            // A stopped process acts on no other signal before this one.
            let _ = kill(pid, Signal::SIGCONT);
        }
    }

    /// Describes the end of this child; `status` is from the kernel.
    pub(crate) fn exit(self, status: ExitStatus) -> ChildExit {
        let begun = self.escalation.filter(|escalation| escalation.has_begun());
        let killed = begun.as_ref().is_some_and(|escalation| escalation.has_killed());
        let serves_from_the_start = Reported { is_ready: true, failure: None };
        let reported = self.status.map_or(serves_from_the_start, |status| status.reported);
        let why = begun.map(|escalation| escalation.why);
        ChildExit::new(self.pid, self.born.elapsed(), status, why, killed, reported)
    }
}
