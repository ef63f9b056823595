//! One child of a server, as its parent knows it.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use super::{ChildExit, Escalation, ExitStatus, Said, StatusPipe, StopReason};

pub(crate) struct ChildHandle {
    pub(crate) pid: i32,
    pub(crate) born: Instant,
    /// Readable when it has ended, pidfd_open(2).
    pub(crate) pidfd: OwnedFd,
    /// `None` for a child that says nothing and serves from the start.
    pub(crate) status: Option<Box<StatusPipe>>,
    /// How it is being made to end, or will be if nobody calls that off.
    pub(crate) escalation: Option<Box<Escalation>>,
}

impl ChildHandle {
    /// Whether it was told to end.
    pub(crate) fn is_told(&self) -> bool {
        self.escalation.as_ref().is_some_and(|escalation| escalation.has_begun())
    }

    /// Makes it end by `escalation`; in a hurry if it is not ready yet, since nobody depends on it.
    pub(crate) fn end(&mut self, now: Duration, escalation: Escalation) {
        let escalation = match &self.status {
            Some(status) if !status.said().is_ready => escalation.unless_ready(now),
            _ => escalation,
        };
        self.escalation = Some(Box::new(escalation));
    }

    /// It need not end for that reason any more, unless it was told to already.
    pub(crate) fn call_off(&mut self, why: StopReason) {
        self.escalation.take_if(|escalation| escalation.why == why && !escalation.has_begun());
    }

    /// It has said that it is ready.
    pub(crate) fn become_ready(&mut self) {
        self.call_off(StopReason::BootTimeout);
        if let Some(escalation) = &mut self.escalation {
            escalation.become_ready();
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
    pub(crate) fn exit(&self, status: ExitStatus) -> ChildExit {
        let told = self.escalation.as_ref().filter(|escalation| escalation.has_begun());
        let killed = told.is_some_and(|escalation| escalation.has_killed());
        let serves_from_the_start = || Said { is_ready: true, failure: None };
        let said = self.status.as_ref().map(|status| status.said().clone());
        let said = said.unwrap_or_else(serves_from_the_start);
        let why = told.map(|escalation| escalation.why);
        ChildExit::new(self.pid, self.born.elapsed(), status, why, killed, said)
    }
}
