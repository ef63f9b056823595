//! Why a child ended, in words: what the kernel says, what the child said, what its parent did.

use std::fmt;

use nix::libc;
use nix::sys::signal::Signal;

use crate::error::ForkError;
use crate::process::{EXIT_PANICKED, Exit};
use crate::refusal::with_causes;
use crate::shutdown::EXIT_GRACE_EXPIRED;

/// The status of a process that ended because one of its handlers was past its deadline. It has
/// answered the callers itself, so its parent replaces it at once.
pub const EXIT_DEADLINE: i32 = 125;

/// Why a parent tells a child to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// The server stops.
    Stop,
    /// A reload, or one worker less.
    Retire,
    /// It asked for its replacement, which is ready.
    Recycle,
    /// It was neither ready nor failed when its time for that was over.
    BootTimeOut,
    /// Somebody stopped it (SIGSTOP) and nobody let it go on.
    Hung,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Stop => "the server stops",
            Why::Retire => "it was to retire",
            Why::Recycle => "it was recycled",
            Why::BootTimeOut => "it was not ready in time",
            Why::Hung => "it was stopped and nobody let it go on",
        })
    }
}

/// Why a child ended. `Display` is a sentence without its subject, such as "killed by SIGSEGV";
/// [`name`](Reason::name) is one word for tables.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It was done and left with status 0, untold.
    Clean,
    /// It had asked for its replacement and left when that was ready.
    Recycled,
    /// A reload replaced it, or one worker less was wanted.
    Retired,
    /// The server stops.
    Stopped,
    /// It ended before it was ready; in its own words where it had any.
    BootFailed(String),
    /// It was not ready in time.
    BootTimedOut,
    /// Code outside of any handler panicked.
    Panicked(String),
    /// It exited with another status than 0 after it was ready; which, and why if it said so.
    Exited(String),
    /// This signal ended it, which its parent did not send.
    Signal(i32),
    /// SIGKILL that its parent did not send: the kernel when memory runs out, or a person.
    KilledByOthers,
    /// Its parent killed it.
    Killed(Why),
    /// It left when it was told to, since it had been stopped for too long.
    Hung,
    /// A handler still ran when the grace was over; its caller was told.
    GraceExpired,
    /// A handler was past its deadline; its caller was told.
    Deadline,
    /// Somebody else has waited for it, or SIGCHLD is ignored.
    Unknown,
}

impl Reason {
    /// The names of all reasons, each once, in a fixed order: a table of counters has one for each.
    pub const NAMES: [&str; 15] = [
        "clean",
        "recycled",
        "retired",
        "stopped",
        "boot_failed",
        "boot_timed_out",
        "panicked",
        "exited",
        "signal",
        "killed_by_others",
        "killed",
        "hung",
        "grace_expired",
        "deadline",
        "unknown",
    ];

    /// Why there is no child at all: it could not be forked.
    pub fn not_forked(error: &ForkError) -> Reason {
        Reason::BootFailed(with_causes(error))
    }

    /// Where the reason stands in [`NAMES`](Reason::NAMES).
    pub fn index(&self) -> usize {
        match self {
            Reason::Clean => 0,
            Reason::Recycled => 1,
            Reason::Retired => 2,
            Reason::Stopped => 3,
            Reason::BootFailed(_) => 4,
            Reason::BootTimedOut => 5,
            Reason::Panicked(_) => 6,
            Reason::Exited(_) => 7,
            Reason::Signal(_) => 8,
            Reason::KilledByOthers => 9,
            Reason::Killed(_) => 10,
            Reason::Hung => 11,
            Reason::GraceExpired => 12,
            Reason::Deadline => 13,
            Reason::Unknown => 14,
        }
    }

    /// One word, for tables and counters.
    pub fn name(&self) -> &'static str {
        Reason::NAMES[self.index()]
    }

    /// Whether the end was in order: wanted by somebody, and nobody was left without an answer.
    pub fn is_in_order(&self) -> bool {
        matches!(self, Reason::Clean | Reason::Recycled | Reason::Retired | Reason::Stopped)
    }

    /// Whether requests were still in flight when it was made to end.
    pub fn is_unfinished(&self) -> bool {
        matches!(self, Reason::GraceExpired | Reason::Killed(_))
    }

    /// Whether it was ended in the middle of its work: nothing that it had started may go on.
    pub(crate) fn was_hard(&self) -> bool {
        self.is_unfinished() || matches!(self, Reason::Deadline | Reason::BootTimedOut)
    }

    /// From the kernel's word (`exit`), the reason for which the parent had told it to end, whether
    /// the parent sent SIGKILL, and what the child said on its status pipe if it has one.
    pub(crate) fn of(exit: Exit, told: Option<Why>, killed: bool, said: Said) -> Reason {
        match (exit, told) {
            (Exit::Signal(libc::SIGKILL), Some(why)) if killed => Reason::Killed(why),
            (_, Some(Why::BootTimeOut)) => Reason::BootTimedOut,
            // The last words of one that had nobody to say them to are in order too.
            (Exit::Status(status), Some(why))
                if status == 0 || status == EXIT_GRACE_EXPIRED && !said.is_ready =>
            {
                match why {
                    Why::Stop => Reason::Stopped,
                    Why::Retire => Reason::Retired,
                    Why::Recycle => Reason::Recycled,
                    Why::Hung => Reason::Hung,
                    Why::BootTimeOut => Reason::BootTimedOut,
                }
            }
            (Exit::Status(EXIT_GRACE_EXPIRED), _) => Reason::GraceExpired,
            (Exit::Status(EXIT_DEADLINE), _) => Reason::Deadline,
            (Exit::Status(EXIT_PANICKED), _) => {
                Reason::Panicked(said.failure.unwrap_or_else(|| "without a word".to_owned()))
            }
            (Exit::Status(status), _) => match said.failure {
                Some(failure) if said.is_ready => Reason::Exited(format!("{exit}: {failure}")),
                Some(failure) => Reason::BootFailed(failure),
                None if !said.is_ready => Reason::BootFailed(exit.to_string()),
                None if status == 0 => Reason::Clean,
                None => Reason::Exited(exit.to_string()),
            },
            (Exit::Signal(libc::SIGKILL), _) => Reason::KilledByOthers,
            (Exit::Signal(number), _) => Reason::Signal(number),
            (Exit::Unknown, _) => Reason::Unknown,
        }
    }
}

/// What a child has said of itself until it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    /// That it serves; also of a child that says nothing and serves from the start.
    pub(crate) is_ready: bool,
    /// Why it cannot, or no longer.
    pub(crate) failure: Option<String>,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Clean => f.write_str("ended by itself"),
            Reason::Recycled => f.write_str("recycled"),
            Reason::Retired => f.write_str("retired"),
            Reason::Stopped => f.write_str("stopped with the server"),
            Reason::BootFailed(why) => write!(f, "failed before it was ready: {why}"),
            Reason::BootTimedOut => f.write_str("was not ready in time"),
            Reason::Panicked(message) => write!(f, "panicked: {message}"),
            Reason::Exited(how) => f.write_str(how),
            Reason::Signal(number) => write_signal(f, *number),
            Reason::KilledByOthers => {
                f.write_str("killed by SIGKILL that the server did not send (out of memory?)")
            }
            Reason::Killed(why) => write!(f, "killed by the server: {why}"),
            Reason::Hung => f.write_str("was stopped for too long and left when told"),
            Reason::GraceExpired => f.write_str("left a handler unfinished: the grace was over"),
            Reason::Deadline => f.write_str("ended by itself: a handler was past its deadline"),
            Reason::Unknown => f.write_str("ended, status unknown"),
        }
    }
}

pub(crate) fn write_signal(f: &mut fmt::Formatter<'_>, number: i32) -> fmt::Result {
    match Signal::try_from(number) {
        Ok(signal) => write!(f, "killed by {signal}"),
        Err(_) => write!(f, "killed by real-time signal {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(exit: Exit, told: Option<Why>, killed: bool, said: &Said, name: &str, words: &str) {
        let reason = Reason::of(exit, told, killed, said.clone());
        assert_eq!(reason.name(), name, "{reason}");
        assert_eq!(reason.to_string(), words);
    }

    fn said(is_ready: bool, failure: &str) -> Said {
        let failure = (!failure.is_empty()).then(|| failure.to_owned());
        Said { is_ready, failure }
    }

    #[test]
    fn what_a_child_says_and_does_is_named() {
        use Exit::{Signal, Status};
        let (silent, ready, why) = (said(false, ""), said(true, ""), "no such table");
        check(Status(0), None, false, &ready, "clean", "ended by itself");
        check(Status(7), None, false, &ready, "exited", "exited with status 7");
        let words = "exited with status 1: no such table";
        check(Status(1), None, false, &said(true, why), "exited", words);
        let words = "failed before it was ready: exited with status 0";
        check(Status(0), None, false, &silent, "boot_failed", words);
        let words = "failed before it was ready: no such table";
        check(Status(1), None, false, &said(false, why), "boot_failed", words);
        check(Status(101), None, false, &said(true, why), "panicked", "panicked: no such table");
        check(Signal(11), None, false, &ready, "signal", "killed by SIGSEGV");
        check(Signal(37), None, false, &ready, "signal", "killed by real-time signal 37");
        let words = "ended by itself: a handler was past its deadline";
        check(Status(EXIT_DEADLINE), None, false, &ready, "deadline", words);
    }

    #[test]
    fn what_its_parent_did_is_named() {
        use Exit::{Signal, Status};
        let (silent, ready) = (said(false, ""), said(true, ""));
        check(Status(0), Some(Why::Stop), false, &ready, "stopped", "stopped with the server");
        check(Status(0), Some(Why::Retire), false, &ready, "retired", "retired");
        check(Status(0), Some(Why::Recycle), false, &ready, "recycled", "recycled");
        let words = "left a handler unfinished: the grace was over";
        check(Status(124), Some(Why::Retire), false, &ready, "grace_expired", words);
        check(Status(124), Some(Why::Stop), false, &silent, "stopped", "stopped with the server");
        let words = "was not ready in time";
        check(Status(124), Some(Why::BootTimeOut), false, &silent, "boot_timed_out", words);
        let words = "killed by the server: it was not ready in time";
        check(Signal(9), Some(Why::BootTimeOut), true, &silent, "killed", words);
        let words = "killed by SIGKILL that the server did not send (out of memory?)";
        check(Signal(9), Some(Why::Retire), false, &ready, "killed_by_others", words);
        check(Signal(9), None, false, &ready, "killed_by_others", words);
    }
}
