//! The ids of this process and this thread.
#![allow(unsafe_code)]

use nix::libc;

/// getpid(2), which is called each time because a fork changes the result. Async-signal-safe.
pub(crate) fn own_pid() -> i32 {
    // SAFETY: getpid(2) has no arguments and cannot fail.
    unsafe { libc::getpid() }
}

/// gettid(2). Async-signal-safe.
pub(crate) fn own_thread() -> i32 {
    // SAFETY: gettid(2) has no arguments and cannot fail.
    unsafe { libc::gettid() }
}
