//! Why a child ended, in words: derived from its exit status, its reports, and what its parent did.

use std::fmt;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::Signal;
use rpc_core::internal::EXIT_PANICKED;
use rpc_core::{EXIT_DEADLINE, EXIT_GRACE_EXPIRED, ExitReason};

/// Why a parent makes a child end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// The server stops.
    Stop,
    /// A reload replaces it, or the number of workers is reduced.
    Retire,
    /// It has asked for a replacement, which is ready.
    Recycle,
    /// It was not ready when the boot timeout was over.
    BootTimeout,
    /// It was stopped (SIGSTOP) and not continued in time.
    Hung,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopReason::Stop => "the server was stopping",
            StopReason::Retire => "it was retiring",
            StopReason::Recycle => "it was being recycled",
            StopReason::BootTimeout => "it was not ready in time",
            StopReason::Hung => "it was stopped for too long",
        })
    }
}

/// How a child ended, according to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// It exited with this status.
    Status(i32),
    /// This signal killed it.
    Signal(i32),
    /// Other code in this process has waited for it, or SIGCHLD is ignored.
    Unknown,
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ExitStatus::Status(status) => write!(f, "exited with status {status}"),
            ExitStatus::Signal(number) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by real-time signal {number}"),
            },
            ExitStatus::Unknown => f.write_str("ended, status unknown"),
        }
    }
}

/// What a child has reported.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reported {
    /// Whether it serves. Always true for a child without a status pipe, which serves from the
    /// start.
    pub(crate) is_ready: bool,
    /// Why it cannot serve, or cannot go on.
    pub(crate) failure: Option<String>,
}

/// A child that has ended and was reaped. `Display` writes a sentence without a subject, such as
/// "killed by SIGSEGV".
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChildExit {
    /// Its process id, which another process may have by now.
    pub pid: i32,
    /// Why it ended.
    pub reason: ExitReason,
    /// Whether it was ready to serve.
    pub was_ready: bool,
    /// How long it lived.
    pub age: Duration,
    status: ExitStatus,
    stop_reason: Option<StopReason>,
    failure: Option<String>,
}

impl ChildExit {
    /// Derives the reason from `status`, from the reason for which the parent made the child end
    /// (if it did), from whether the parent sent SIGKILL, and from what the child has reported.
    pub(crate) fn new(
        pid: i32,
        age: Duration,
        status: ExitStatus,
        stop_reason: Option<StopReason>,
        killed: bool,
        reported: Reported,
    ) -> ChildExit {
        let reason = match (status, stop_reason) {
            (ExitStatus::Signal(libc::SIGKILL), Some(_)) if killed => ExitReason::Killed,
            (_, Some(StopReason::BootTimeout)) => ExitReason::BootTimedOut,
            // A child that was not ready had no callers, so an exit after SIGALRM is in order too.
            (ExitStatus::Status(status), Some(why))
                if status == 0 || status == EXIT_GRACE_EXPIRED && !reported.is_ready =>
            {
                match why {
                    StopReason::Stop => ExitReason::Stopped,
                    StopReason::Retire => ExitReason::Retired,
                    StopReason::Recycle => ExitReason::Recycled,
                    StopReason::Hung | StopReason::BootTimeout => ExitReason::Hung,
                }
            }
            (ExitStatus::Status(EXIT_GRACE_EXPIRED), _) => ExitReason::GraceExpired,
            (ExitStatus::Status(EXIT_DEADLINE), _) => ExitReason::Deadline,
            (ExitStatus::Status(EXIT_PANICKED), _) => ExitReason::Panicked,
            (ExitStatus::Status(_), _) if !reported.is_ready => ExitReason::BootFailed,
            (ExitStatus::Status(0), _) if reported.failure.is_none() => ExitReason::Clean,
            (ExitStatus::Status(_), _) => ExitReason::Exited,
            (ExitStatus::Signal(libc::SIGKILL), _) => ExitReason::KilledByOthers,
            (ExitStatus::Signal(_), _) => ExitReason::Signal,
            (ExitStatus::Unknown, _) => ExitReason::Unknown,
        };
        let Reported { is_ready, failure } = reported;
        ChildExit { pid, reason, was_ready: is_ready, age, status, stop_reason, failure }
    }

    /// Whether the exit was in order: the parent or the child wanted it, and every caller got an
    /// answer.
    pub fn is_in_order(&self) -> bool {
        use ExitReason::{Clean, Recycled, Retired, Stopped};
        matches!(self.reason, Clean | Recycled | Retired | Stopped)
    }

    /// Whether it was made to end while calls were unfinished.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.reason, ExitReason::GraceExpired | ExitReason::Killed)
    }

    /// Whether it was ended in the middle of its work, so that programs which it had started must
    /// be killed.
    pub(crate) fn was_hard(&self) -> bool {
        self.is_unfinished()
            || matches!(self.reason, ExitReason::Deadline | ExitReason::BootTimedOut)
    }
}

impl fmt::Display for ChildExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.reason {
            ExitReason::Clean => "ended by itself",
            ExitReason::Recycled => "recycled",
            ExitReason::Retired => "retired",
            ExitReason::Stopped => "stopped with the server",
            ExitReason::BootFailed => "failed before it was ready",
            ExitReason::BootTimedOut => "was not ready in time",
            ExitReason::Panicked => "panicked",
            ExitReason::KilledByOthers => {
                "killed by a SIGKILL that the server did not send (out of memory?)"
            }
            ExitReason::Killed => "killed by the server",
            ExitReason::Hung => "was stopped for too long and ended on request",
            ExitReason::GraceExpired => "left a handler unfinished: the grace was over",
            ExitReason::Deadline => "ended by itself: a handler was past its deadline",
            _ => &self.status.to_string(),
        };
        f.write_str(words)?;
        match (self.reason, &self.failure, self.stop_reason) {
            (ExitReason::Killed, _, Some(why)) => write!(f, ": {why}"),
            (ExitReason::BootFailed | ExitReason::Panicked | ExitReason::Exited, Some(why), _) => {
                write!(f, ": {why}")
            }
            (ExitReason::BootFailed, None, _) => write!(f, ": {}", self.status),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        status: ExitStatus,
        stop_reason: Option<StopReason>,
        killed: bool,
        reported: &Reported,
        name: &str,
        words: &str,
    ) {
        let exit = ChildExit::new(1, Duration::ZERO, status, stop_reason, killed, reported.clone());
        assert_eq!(exit.reason.name(), name, "{exit}");
        assert_eq!(exit.to_string(), words);
    }

    fn reported(is_ready: bool, failure: &str) -> Reported {
        let failure = (!failure.is_empty()).then(|| failure.to_owned());
        Reported { is_ready, failure }
    }

    #[test]
    fn what_a_child_says_and_does_is_named() {
        use ExitStatus::{Signal, Status};
        let (silent, ready, why) = (reported(false, ""), reported(true, ""), "no such table");
        check(Status(0), None, false, &ready, "clean", "ended by itself");
        check(Status(7), None, false, &ready, "exited", "exited with status 7");
        let words = "exited with status 1: no such table";
        check(Status(1), None, false, &reported(true, why), "exited", words);
        let words = "failed before it was ready: exited with status 0";
        check(Status(0), None, false, &silent, "boot_failed", words);
        let words = "failed before it was ready: no such table";
        check(Status(1), None, false, &reported(false, why), "boot_failed", words);
        check(
            Status(101),
            None,
            false,
            &reported(true, why),
            "panicked",
            "panicked: no such table",
        );
        check(Signal(11), None, false, &ready, "signal", "killed by SIGSEGV");
        check(Signal(37), None, false, &ready, "signal", "killed by real-time signal 37");
        let words = "ended by itself: a handler was past its deadline";
        check(Status(EXIT_DEADLINE), None, false, &ready, "deadline", words);
    }

    #[test]
    fn what_its_parent_did_is_named() {
        use ExitStatus::{Signal, Status};
        use StopReason::{BootTimeout, Hung, Recycle, Retire, Stop};
        let (silent, ready) = (reported(false, ""), reported(true, ""));
        check(Status(0), Some(Stop), false, &ready, "stopped", "stopped with the server");
        check(Status(0), Some(Retire), false, &ready, "retired", "retired");
        check(Status(0), Some(Recycle), false, &ready, "recycled", "recycled");
        let words = "was stopped for too long and ended on request";
        check(Status(0), Some(Hung), false, &ready, "hung", words);
        let words = "left a handler unfinished: the grace was over";
        check(Status(124), Some(Retire), false, &ready, "grace_expired", words);
        check(Status(124), Some(Stop), false, &silent, "stopped", "stopped with the server");
        let words = "was not ready in time";
        check(Status(124), Some(BootTimeout), false, &silent, "boot_timed_out", words);
        let words = "killed by the server: it was not ready in time";
        check(Signal(9), Some(BootTimeout), true, &silent, "killed", words);
        let words = "killed by a SIGKILL that the server did not send (out of memory?)";
        check(Signal(9), Some(Retire), false, &ready, "killed_by_others", words);
        check(Signal(9), None, false, &ready, "killed_by_others", words);
    }
}
