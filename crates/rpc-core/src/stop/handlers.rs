//! Installing signal handlers, and giving the signals back to the host program.
#![allow(unsafe_code)]

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::stop::registered::wait_for_handlers;

/// What a handler is called with besides the signal's number and its siginfo_t.
pub(crate) type Context = *mut libc::c_void;

/// A handler that calls async-signal-safe functions only and keeps errno.
pub(crate) type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, Context);

/// What the host program had installed, while our handler stands in its place, by the signal's
/// number. Behind a pointer, since the handler of a crash puts it back and must not lock.
static PREVIOUS: [AtomicPtr<libc::sigaction>; 32] = [const { AtomicPtr::new(ptr::null_mut()) }; 32];

/// For whoever installs handlers or gives them back. Never held while this process forks.
pub(crate) type SignalsLock = MutexGuard<'static, ()>;

pub(crate) fn lock_signals() -> SignalsLock {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the host program had installed for `signal`, if our handler stands in its place.
/// Async-signal-safe.
pub(crate) fn previous_action(signal: libc::c_int) -> Option<libc::sigaction> {
    let action = PREVIOUS[signal as usize].load(Ordering::SeqCst);
    // SAFETY: null, or a box that is kept until no handler runs that may have found it.
    unsafe { action.as_ref() }.copied()
}

pub(crate) fn is_installed(signal: Signal) -> bool {
    previous_action(signal as libc::c_int).is_some()
}

/// What is installed for `signal`.
pub(crate) fn current_action(signal: Signal) -> libc::sigaction {
    // SAFETY: all zeroes is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: sigaction(2) changes nothing when there is no new action, and `action` is live.
    unsafe { libc::sigaction(signal as libc::c_int, ptr::null(), &mut action) };
    action
}

/// Installs `handler` and keeps what was there before, unless it is ours already.
pub(crate) fn install(
    signal: Signal,
    handler: Handler,
    flags: SaFlags,
    lock: &SignalsLock,
) -> io::Result<()> {
    if is_installed(signal) {
        return Ok(());
    }
    // First, because the handler may be needed as soon as it is installed.
    let previous = Box::into_raw(Box::new(current_action(signal)));
    PREVIOUS[signal as usize].store(previous, Ordering::SeqCst);
    let handled = set_handler(signal, handler, flags);
    if handled.is_err() {
        drop_previous(signal, lock);
    }
    handled
}

/// Installs `handler` for good.
pub(crate) fn set_handler(signal: Signal, handler: Handler, flags: SaFlags) -> io::Result<()> {
    let action = SigAction::new(SigHandler::SigAction(handler), flags, SigSet::all());
    // SAFETY: a `Handler` does what a handler may.
    unsafe { sigaction(signal, &action) }.map(drop).map_err(io::Error::from)
}

/// Gives `signal` back to the host program.
pub(crate) fn uninstall(signal: Signal, lock: &SignalsLock) {
    if !is_installed(signal) {
        return;
    }
    if signal == Signal::SIGALRM {
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        // SAFETY: no handler is installed. An alarm that was sent and not delivered is thrown
        // away thereby (sigaction(2)): the host program must not die of it.
        let _ = unsafe { sigaction(signal, &ignore) };
    }
    restore(signal);
    drop_previous(signal, lock);
}

fn drop_previous(signal: Signal, _lock: &SignalsLock) {
    let previous = PREVIOUS[signal as usize].swap(ptr::null_mut(), Ordering::SeqCst);
    wait_for_handlers();
    // SAFETY: it was a box, and no handler looks at it any more.
    drop(unsafe { Box::from_raw(previous) });
}

/// Puts back what was installed before us. Async-signal-safe.
pub(crate) fn restore(signal: Signal) {
    if let Some(action) = previous_action(signal as libc::c_int) {
        // SAFETY: the action is the one that the host program had installed.
        unsafe { libc::sigaction(signal as libc::c_int, &action, ptr::null_mut()) };
    }
}

/// In a process that is about to execute another program: what has a handler here has its default
/// there, and should have it already when it is let through. What was ignored before us stays so,
/// as nohup(1) wants it.
pub fn forget_handlers() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGALRM, Signal::SIGHUP] {
        let old = previous_action(signal as libc::c_int).unwrap_or_else(|| current_action(signal));
        let handler = match old.sa_sigaction {
            libc::SIG_IGN => SigHandler::SigIgn,
            _ => SigHandler::SigDfl,
        };
        let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
        // SAFETY: neither is a handler.
        let _ = unsafe { sigaction(signal, &action) };
    }
}
