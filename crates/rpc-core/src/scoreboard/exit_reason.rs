//! Why a process of a server ended, as a table of names: counters and statistics have one each.

/// Why a child of a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitReason {
    /// It was done and left with status 0, untold.
    Clean,
    /// It had asked for its replacement and left when that was ready.
    Recycled,
    /// A reload replaced it, or one worker less was wanted.
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
    /// A signal ended it, which its parent did not send.
    Signal,
    /// SIGKILL that its parent did not send: the kernel when memory runs out, or a person.
    KilledByOthers,
    /// Its parent killed it.
    Killed,
    /// It left when it was told to, since it had been stopped (SIGSTOP) for too long.
    Hung,
    /// A handler still ran when the grace was over; its caller was told.
    GraceExpired,
    /// A handler was past its deadline; its caller was told.
    Deadline,
    /// Somebody else has waited for it, or SIGCHLD is ignored.
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
