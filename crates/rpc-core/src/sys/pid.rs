//! Who this is: process and thread.
#![allow(unsafe_code)]

use nix::libc;

/// getpid(2), each time anew: a fork changes the answer. Async-signal-safe.
pub(crate) fn own_pid() -> i32 {
    // SAFETY: getpid(2) takes nothing and cannot fail.
    unsafe { libc::getpid() }
}

/// gettid(2). Async-signal-safe.
pub(crate) fn own_thread() -> i32 {
    // SAFETY: gettid(2) takes nothing and cannot fail.
    unsafe { libc::gettid() }
}
