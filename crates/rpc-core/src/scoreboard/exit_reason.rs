//! The reasons why a process of a server ends, as a table of names for counters and statistics.

/// Why a child of a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitReason {
    /// It exited with status 0 without being asked to.
    Clean,
    /// It had asked for a replacement, and exited when that was ready.
    Recycled,
    /// A reload replaced it, or the number of workers was reduced.
    Retired,
    /// The server stops.
    Stopped,
    /// It ended before it was ready.
    BootFailed,
    /// It was not ready in time.
    BootTimedOut,
    /// Code outside of any handler panicked.
    Panicked,
    /// It exited with another status than 0 after it was ready.
    Exited,
    /// A signal that its parent did not send ended it.
    Signal,
    /// A SIGKILL that its parent did not send ended it: from the kernel when memory runs out, or
    /// from a person.
    KilledByOthers,
    /// Its parent killed it.
    Killed,
    /// It exited on its parent's signal, after it had been stopped (SIGSTOP) for too long.
    Hung,
    /// A handler still ran when the grace was over; its caller got an error.
    GraceExpired,
    /// A handler ran past its deadline; its caller got an error.
    Deadline,
    /// Its status is lost: other code in the process has waited for it, or SIGCHLD is ignored.
    Unknown,
}

impl ExitReason {
    /// The names of all reasons, each once, in the order of the variants.
    pub const NAMES: &[&str] = &[
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

    /// One word, for tables and counters.
    pub fn name(self) -> &'static str {
        ExitReason::NAMES[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_name() {
        assert_eq!(ExitReason::Clean.name(), "clean");
        assert_eq!(ExitReason::Panicked.name(), "panicked");
        assert_eq!(ExitReason::GraceExpired.name(), "grace_expired");
        assert_eq!(ExitReason::Unknown.name(), "unknown");
        assert_eq!(ExitReason::Unknown as usize + 1, ExitReason::NAMES.len());
    }
}
