//! Installing signal handlers, and restoring those of the host program.
#![allow(unsafe_code)]

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::stop::registered::wait_for_handlers;

/// The third argument of a signal handler, after the signal's number and its siginfo_t.
pub(crate) type Context = *mut libc::c_void;

/// A signal handler. It must call only async-signal-safe functions, and preserve errno.
pub(crate) type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, Context);

/// The host program's actions that our handlers have replaced, by the signal's number; null for a
/// signal without our handler. Behind a pointer, since the crash handler restores them and must not
/// lock.
static PREVIOUS: [AtomicPtr<libc::sigaction>; 32] = [const { AtomicPtr::new(ptr::null_mut()) }; 32];

/// Held while handlers are installed or uninstalled. Never held while this process forks.
pub(crate) type SignalsLock = MutexGuard<'static, ()>;

pub(crate) fn lock_signals() -> SignalsLock {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The host program's action for `signal`, if our handler has replaced it. Async-signal-safe.
pub(crate) fn previous_action(signal: libc::c_int) -> Option<libc::sigaction> {
    let action = PREVIOUS[signal as usize].load(Ordering::SeqCst);
    // SAFETY: null, or a box that is kept until no handler runs that may have found it.
    unsafe { action.as_ref() }.copied()
}

/// Whether our handler for `signal` is installed.
pub(crate) fn is_installed(signal: Signal) -> bool {
    !PREVIOUS[signal as usize].load(Ordering::SeqCst).is_null()
}

/// The action that is now installed for `signal`.
pub(crate) fn current_action(signal: Signal) -> libc::sigaction {
    // SAFETY: all zeroes is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: sigaction(2) changes nothing when there is no new action, and `action` is live.
    unsafe { libc::sigaction(signal as libc::c_int, ptr::null(), &mut action) };
    action
}

/// Installs `handler` and keeps the previous action, unless our handler is installed already.
pub(crate) fn install(
    signal: Signal,
    handler: Handler,
    flags: SaFlags,
    lock: &SignalsLock,
) -> io::Result<()> {
    if is_installed(signal) {
        return Ok(());
    }
    // First, because the handler may need it as soon as it is installed.
    let previous = Box::into_raw(Box::new(current_action(signal)));
    PREVIOUS[signal as usize].store(previous, Ordering::SeqCst);
    let handled = set_handler(signal, handler, flags);
    if handled.is_err() {
        drop_previous(signal, lock);
    }
    handled
}

/// Installs `handler` without keeping the previous action.
pub(crate) fn set_handler(signal: Signal, handler: Handler, flags: SaFlags) -> io::Result<()> {
    let action = SigAction::new(SigHandler::SigAction(handler), flags, SigSet::all());
    // SAFETY: a `Handler` does only what signal handlers may do.
    unsafe { sigaction(signal, &action) }.map(drop).map_err(io::Error::from)
}

/// Removes our handler for `signal` and restores the host program's action.
pub(crate) fn uninstall(signal: Signal, lock: &SignalsLock) {
    if !is_installed(signal) {
        return;
    }
    if signal == Signal::SIGALRM {
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        // SAFETY: no handler is installed. This discards an alarm that is still pending
        // (sigaction(2)), which would otherwise kill the host program.
        let _ = unsafe { sigaction(signal, &ignore) };
    }
    restore(signal);
    drop_previous(signal, lock);
}

fn drop_previous(signal: Signal, _lock: &SignalsLock) {
    let previous = PREVIOUS[signal as usize].swap(ptr::null_mut(), Ordering::SeqCst);
    wait_for_handlers();
    // SAFETY: it came from a box, and no handler uses it any more.
    drop(unsafe { Box::from_raw(previous) });
}

/// Restores the host program's action for `signal`, if there is one. Async-signal-safe.
pub(crate) fn restore(signal: Signal) {
    if let Some(action) = previous_action(signal as libc::c_int) {
        // SAFETY: the host program had installed this action.
        unsafe { libc::sigaction(signal as libc::c_int, &action, ptr::null_mut()) };
    }
}

/// For a process that is about to execute another program: sets the default action, which handled
/// signals have after execve(2) anyway, before these signals are unblocked. Signals that the host
/// program ignored stay ignored, as nohup(1) needs it.
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
