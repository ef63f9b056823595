//! The exit statuses of a server's processes, and exiting.
#![allow(unsafe_code)]

use nix::libc;

/// A child whose work failed.
pub const EXIT_FAILED: i32 = 1;

/// A child whose code panicked outside of any handler. Rust itself uses this status.
pub const EXIT_PANICKED: i32 = 101;

/// A process whose handlers still ran when the grace after a stop signal was over. timeout(1) uses
/// this status for the same purpose.
pub const EXIT_GRACE_EXPIRED: i32 = 124;

/// A process that exited because one of its handlers ran past its deadline. It has answered the
/// callers itself, so its parent replaces it at once.
pub const EXIT_DEADLINE: i32 = 125;

/// A program that could not be executed. Shells use this status for the same purpose.
pub const EXIT_NOT_EXECUTED: i32 = 126;

/// A process that a second SIGINT ended at once: 128 plus the signal's number, as shells report it.
pub(crate) const EXIT_INTERRUPTED: i32 = 128 + libc::SIGINT;

/// A parent that SIGQUIT ended at once, together with its children.
pub(crate) const EXIT_QUIT: i32 = 128 + libc::SIGQUIT;

/// Exits without running destructors or exit handlers. Async-signal-safe.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) takes no pointer and does not return.
    unsafe { libc::_exit(status) }
}
