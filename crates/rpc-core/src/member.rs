//! One child of a server, as its parent knows it.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::death::{Reason, Said, Why};
use crate::ladder::Ladder;
use crate::process::Exit;
use crate::report::StatusPipe;
use crate::supervision::Death;

pub(crate) struct Member {
    pub(crate) pid: i32,
    pub(crate) born: Instant,
    pub(crate) pidfd: OwnedFd,
    pub(crate) status: Option<Box<StatusPipe>>,
    pub(crate) ladder: Option<Box<Ladder>>,
    /// Whether somebody has stopped it (SIGSTOP) and nobody has let it go on.
    pub(crate) is_stopped: bool,
}

impl Member {
    /// Whether it was told to end.
    pub(crate) fn is_told(&self) -> bool {
        self.ladder.as_ref().is_some_and(|ladder| ladder.is_climbed())
    }

    /// `ladder`, in a hurry if it is not ready yet: nobody depends on it. A child without a status
    /// pipe serves from the start.
    pub(crate) fn if_ready(&self, now: Duration, ladder: Ladder) -> Ladder {
        match &self.status {
            Some(status) if !status.said().is_ready => ladder.unless_ready(now),
            _ => ladder,
        }
    }

    /// If it is stopped and not about to end anyway, gives it `time` to go on.
    pub(crate) fn mind_stop(&mut self, now: Duration, time: Duration) {
        if self.is_stopped && self.ladder.is_none() {
            tracing::warn!(pid = self.pid, limit = ?time, "worker is stopped");
            self.ladder = Some(Box::new(Ladder::hung(now, time)));
        }
    }

    /// It need not end for that reason any more, unless it was told to already.
    pub(crate) fn call_off(&mut self, why: Why) {
        self.ladder.take_if(|ladder| ladder.why == why && !ladder.is_climbed());
    }

    /// Sends a signal. SIGKILL also reaches what the handlers of the child have started.
    pub(crate) fn signal(&self, signal: Signal) {
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

    /// The death of this child, of which the kernel says `exit`.
    pub(crate) fn death(&self, exit: Exit) -> Death {
        let told = self.ladder.as_ref().filter(|ladder| ladder.is_climbed());
        let killed = told.is_some_and(|ladder| ladder.has_killed());
        let serves_from_the_start = || Said { is_ready: true, failure: None };
        let said = self.status.as_ref().map(|status| status.said().clone());
        let said = said.unwrap_or_else(serves_from_the_start);
        let was_ready = said.is_ready;
        let reason = Reason::of(exit, told.map(|ladder| ladder.why), killed, said);
        Death { pid: self.pid, reason, was_ready, age: self.born.elapsed() }
    }
}
