//! The signals that end a server, and the alarm that ends its grace.
//!
//! Handlers belong to the whole process. They do what any thread may do at any time: set flags,
//! walk the scoreboard, and call what signal-safety(7) lists.
#![allow(unsafe_code)]

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::scoreboard::own_pid;
use crate::shutdown::{Control, EXIT_GRACE_EXPIRED, EXIT_INTERRUPTED, EXIT_QUIT, exit_now};

impl Control {
    /// Lets SIGTERM and SIGINT stop this acceptor.
    pub(crate) fn stop_on_signals(self: &Arc<Control>) -> io::Result<()> {
        let leaked = Arc::into_raw(Arc::clone(self)).cast_mut();
        SIGNALLED.store(leaked, Ordering::Release);
        let before = [
            (Signal::SIGTERM, install(Signal::SIGTERM, on_signal)?),
            (Signal::SIGINT, install(Signal::SIGINT, on_signal)?),
            (Signal::SIGALRM, install(Signal::SIGALRM, on_grace_expired)?),
        ];
        let mut signals_before = self.signals_before.lock().unwrap_or_else(PoisonError::into_inner);
        signals_before.get_or_insert(before);
        Ok(())
    }

    /// Lets SIGHUP end the accepting in this child. After
    /// [`stop_on_signals`](Control::stop_on_signals).
    pub(crate) fn retire_on_signal(&self) -> io::Result<()> {
        install(Signal::SIGHUP, on_signal).map(drop)
    }

    /// Whether signals stop this acceptor, and not one that asked later.
    pub(crate) fn is_signalled(&self) -> bool {
        ptr::eq(SIGNALLED.load(Ordering::Acquire), self)
    }

    /// Calls off the end of the grace and gives the signals back to the host program, which may
    /// have other things to do after it has served. Not before the acceptor and the children are
    /// gone, and not while handlers still run: the signals are for them.
    pub(crate) fn give_signals_back(&self) {
        let serves = !self.serves_no_more.load(Ordering::SeqCst)
            || self.supervises.load(Ordering::SeqCst)
            || self.scoreboard.has_slot_of(own_pid());
        if serves || !self.is_signalled() {
            return;
        }
        self.call_off_alarm();
        let mut signals_before = self.signals_before.lock().unwrap_or_else(PoisonError::into_inner);
        for (signal, action) in signals_before.take().into_iter().flatten() {
            // SAFETY: the action is the one that the host program had installed.
            let _ = unsafe { sigaction(signal, &action) };
        }
        SIGNALLED.store(ptr::null_mut(), Ordering::Release);
    }

    /// The grace is not for this process, or no longer.
    pub(crate) fn call_off_alarm(&self) {
        if self.alarm_is_set.swap(false, Ordering::SeqCst) {
            set_alarm(Duration::ZERO);
        }
    }

    /// Does what SIGTERM, SIGINT, SIGQUIT or, in a child, SIGHUP asks for. Async-signal-safe.
    pub(crate) fn obey(&self, signal: libc::c_int) {
        let supervises = self.supervises.load(Ordering::SeqCst);
        let end_at_once = match signal {
            libc::SIGHUP => return self.retire(),
            libc::SIGINT if self.interrupted.swap(true, Ordering::SeqCst) => EXIT_INTERRUPTED,
            libc::SIGQUIT => EXIT_QUIT,
            _ => 0,
        };
        if end_at_once != 0 {
            // Whoever has children must take them along, which is not for a signal handler.
            if !supervises {
                exit_now(end_at_once);
            }
            self.ends_at_once.store(end_at_once, Ordering::SeqCst);
        }
        // Before the stop: a server that has nothing to do returns at once, in another thread, and
        // calls off what is set by then.
        if !supervises && !self.alarm_is_set.swap(true, Ordering::SeqCst) {
            set_alarm(self.grace());
        }
        self.stop();
    }
}

/// The acceptor that signals stop. Leaked once per acceptor that asked, never freed: a signal
/// handler may be looking at it.
static SIGNALLED: AtomicPtr<Control> = AtomicPtr::new(ptr::null_mut());

/// In a process that is about to execute another program: what has a handler here has its default
/// there, and should have it already when it is let through.
pub(crate) fn forget_handlers() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGALRM, Signal::SIGHUP] {
        let action = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action is no handler.
        let _ = unsafe { sigaction(signal, &action) };
    }
}

/// Returns what was there before.
fn install(signal: Signal, handler: extern "C" fn(libc::c_int)) -> io::Result<SigAction> {
    // None of the handlers runs within another.
    let mask = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]);
    let action = SigAction::new(SigHandler::Handler(handler), SaFlags::SA_RESTART, mask);
    // SAFETY: the handlers below call async-signal-safe functions only and keep errno.
    Ok(unsafe { sigaction(signal, &action) }?)
}

extern "C" fn on_signal(signal: libc::c_int) {
    // SAFETY: errno's address is valid in every thread.
    let saved_errno = unsafe { *libc::__errno_location() };
    // SAFETY: null, or a leaked Control.
    if let Some(control) = unsafe { SIGNALLED.load(Ordering::Acquire).as_ref() } {
        control.obey(signal);
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = saved_errno };
}

extern "C" fn on_grace_expired(_signal: libc::c_int) {
    // SAFETY: null, or a leaked Control.
    if let Some(control) = unsafe { SIGNALLED.load(Ordering::Acquire).as_ref() } {
        control.scoreboard.answer_instead(own_pid(), &control.last_words);
        exit_now(EXIT_GRACE_EXPIRED);
    }
}

/// SIGALRM after `delay`, or never if that is zero. Async-signal-safe.
fn set_alarm(delay: Duration) {
    let delay = libc::timeval {
        tv_sec: libc::time_t::try_from(delay.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_usec: libc::suseconds_t::from(delay.subsec_micros()),
    };
    let once = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let timer = libc::itimerval { it_interval: once, it_value: delay };
    // SAFETY: `timer` is a live, valid itimerval; the old value is not asked for. setitimer(2) is
    // a plain system call without state in the C library.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, ptr::null_mut()) };
}
