//! The timer of a process, setitimer(2).
#![allow(unsafe_code)]

use std::ptr;
use std::time::Duration;

use nix::libc;

/// Raises SIGALRM once after `delay`, or turns the timer off if that is zero. Async-signal-safe.
pub(crate) fn set_timer(delay: Duration) {
    // In microseconds, rounded up: it must not expire early, nor become zero and be turned off.
    let micros = delay.as_nanos().div_ceil(1000);
    let delay = libc::timeval {
        tv_sec: libc::time_t::try_from(micros / 1_000_000).unwrap_or(libc::time_t::MAX),
        tv_usec: (micros % 1_000_000) as libc::suseconds_t,
    };
    let once = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let timer = libc::itimerval { it_interval: once, it_value: delay };
    // SAFETY: `timer` is a live, valid itimerval; the old value is not asked for. setitimer(2) is
    // a plain system call without state in the C library.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, ptr::null_mut()) };
}
