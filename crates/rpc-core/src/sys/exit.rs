//! The statuses with which a process of a server ends, and the end itself.
#![allow(unsafe_code)]

use nix::libc;

/// A child whose work failed.
pub const EXIT_FAILED: i32 = 1;

/// A child whose code panicked outside of any handler: the status that Rust itself uses.
pub const EXIT_PANICKED: i32 = 101;

/// A process that was told to stop by a signal and still had handlers running when the grace was
/// over; the number that timeout(1) uses for the same thing.
pub const EXIT_GRACE_EXPIRED: i32 = 124;

/// A process that ended because one of its handlers was past its deadline. It has answered the
/// callers itself, so its parent replaces it at once.
pub const EXIT_DEADLINE: i32 = 125;

/// A program that could not be executed, as shells use it.
pub const EXIT_NOT_EXECUTED: i32 = 126;

/// A process that a second SIGINT ended at once: 128 and the signal's number, as shells report it.
pub(crate) const EXIT_INTERRUPTED: i32 = 128 + libc::SIGINT;

/// A parent that SIGQUIT ended at once, with its children.
pub(crate) const EXIT_QUIT: i32 = 128 + libc::SIGQUIT;

/// Ends the process without running anything else in it. Async-signal-safe.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) takes no pointer and does not return.
    unsafe { libc::_exit(status) }
}
