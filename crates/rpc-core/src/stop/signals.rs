//! What signals do in a process of a server: those that stop it, the alarm, and those of a crash.
//!
//! Signal handlers belong to the whole process. They only do what is safe at any time: set flags,
//! walk the scoreboard, and call the functions that signal-safety(7) lists. The previous handlers
//! are restored when the last server that needs ours is gone.
#![allow(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::libc;
use nix::sys::signal::{SaFlags, SigSet, Signal};

use crate::scoreboard::guard::SlotOwner;
use crate::scoreboard::table::Scoreboard;
use crate::stop::control::Control;
use crate::stop::crash::{CRASH_SIGNALS, happens_again, on_crash, prepare_crash_frames};
use crate::stop::deadline_timer::{arm, disarm, on_alarm, reset_child_timer};
use crate::stop::handlers::{
    Context, current_action, install, is_installed, lock_signals, previous_action, set_handler,
    uninstall,
};
use crate::stop::registered::{self, InHandler, register};
use crate::sys::clock::moment_in;
use crate::sys::exit::{EXIT_INTERRUPTED, EXIT_QUIT, exit_now};

const STOP_SIGNALS: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];

/// What each signal does in a process that serves. A parent reads the signals that stop it from a
/// signalfd instead, and calls [`obey`].
extern "C" fn on_signal(signal: libc::c_int, info: *mut libc::siginfo_t, context: Context) {
    // SAFETY: errno's address is valid in every thread.
    let saved_errno = unsafe { *libc::__errno_location() };
    let handler = InHandler::enter();
    // SAFETY: the kernel passes a valid siginfo_t.
    let sent = unsafe { &*info };
    match signal {
        libc::SIGTERM | libc::SIGINT | libc::SIGHUP => {
            handler.each_control(|control| {
                if control.role.stops_on_signals.is_set() {
                    obey(control, signal, control.role.is_child.is_set() && is_from_parent(sent));
                }
            });
        }
        libc::SIGALRM => on_alarm(is_from_parent(sent), &handler),
        _ => {
            on_crash(signal, &handler);
            if !happens_again(signal, sent.si_code) {
                die_by_signal(signal, info, context);
            }
        }
    }
    drop(handler);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = saved_errno };
}

/// What each signal does that ends a server or one of its processes. Async-signal-safe.
pub(crate) fn obey(control: &Control, signal: libc::c_int, is_from_parent: bool) {
    match signal {
        // In a child only.
        libc::SIGHUP => control.retire(),
        libc::SIGTERM => stop(control, is_from_parent),
        libc::SIGINT if control.role.was_interrupted.test_and_set() => {
            end_at_once(control, EXIT_INTERRUPTED);
        }
        libc::SIGINT => stop(control, is_from_parent),
        // In a parent only.
        libc::SIGQUIT => end_at_once(control, EXIT_QUIT),
        _ => {}
    }
}

fn stop(control: &Control, is_from_parent: bool) {
    // A parent that stops its child also ends it when the grace is over. If the parent dies before
    // that, the kernel sends the signal again, and that one is not from the parent. A child that
    // serves in several threads enforces the grace itself.
    let waits_for_threads = control.role.serves_in_threads.is_set();
    let ends_by_itself =
        !control.role.supervises.is_set() && (!is_from_parent || waits_for_threads);
    // Before the stop: a server without work returns at once, perhaps in another thread, and
    // cancels the grace that is set by then.
    let grace_ends = &control.limits.grace_ends;
    if ends_by_itself && grace_ends.load(Ordering::SeqCst) == 0 {
        let ends = moment_in(control.grace());
        grace_ends.store(ends, Ordering::SeqCst);
        arm(ends);
    }
    control.stop();
}

/// Ends a process at once. One that supervises must kill its children first, which a signal handler
/// cannot do, so this only orders it.
fn end_at_once(control: &Control, status: i32) {
    if !control.role.supervises.is_set() {
        exit_now(status);
    }
    control.role.end_at_once(status);
    control.stop();
}

/// Whether the parent of this process has sent a signal with kill(2). A signal that the kernel
/// sends when the parent has died does not count: by then the process has another parent.
/// Async-signal-safe.
fn is_from_parent(info: &libc::siginfo_t) -> bool {
    // SAFETY: a signal that was sent with kill(2) has a sender; getppid(2) has no arguments.
    info.si_code == libc::SI_USER && unsafe { info.si_pid() == libc::getppid() }
}

/// Ends the process by a crash signal that does not occur again by itself, because it was sent, for
/// instance by abort(3). Calls the host program's handler, if there is one. That may return, as
/// that of std does, but the callers got -32004, so the process must die. Async-signal-safe if that
/// handler is.
fn die_by_signal(signal: libc::c_int, info: *mut libc::siginfo_t, context: Context) {
    if let Some(action) = previous_action(signal)
        && ![libc::SIG_DFL, libc::SIG_IGN].contains(&action.sa_sigaction)
    {
        if action.sa_flags & libc::SA_SIGINFO != 0 {
            // SAFETY: sigaction(2): with this flag it is the address of a function of this type.
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, Context) =
                unsafe { std::mem::transmute(action.sa_sigaction) };
            handler(signal, info, context);
        } else {
            // SAFETY: sigaction(2): without the flag, it is that of a function of this type.
            let handler: extern "C" fn(libc::c_int) =
                unsafe { std::mem::transmute(action.sa_sigaction) };
            handler(signal);
        }
    }
    // SAFETY: signal(2) and raise(3) take integers; the signal stays blocked until we return.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Lets SIGTERM and SIGINT stop this server.
pub(crate) fn stop_on_signals(control: &Arc<Control>) -> io::Result<()> {
    let lock = lock_signals();
    register(control)?;
    control.role.stops_on_signals.set();
    control.limits.are_enforced.set();
    let signals = STOP_SIGNALS.into_iter().chain([Signal::SIGALRM]);
    for signal in signals.clone() {
        install(signal, on_signal, SaFlags::SA_RESTART, &lock)?;
    }
    // Masks survive execve(2), so the program that started this one may have blocked them.
    Ok(SigSet::from_iter(signals).thread_unblock()?)
}

/// Installs the handler for deadlines, at the first deadline. `false` if deadlines cannot be
/// enforced: the host program has its own handler for SIGALRM and has not called `stop_on_signals`,
/// or too many servers use signals.
#[cold]
pub(crate) fn install_deadline_handler(control: &Arc<Control>) -> bool {
    if control.limits.are_unenforceable.is_set() {
        return false;
    }
    let lock = lock_signals();
    let free = [libc::SIG_DFL, libc::SIG_IGN];
    let may_install = is_installed(Signal::SIGALRM)
        || free.contains(&current_action(Signal::SIGALRM).sa_sigaction);
    if may_install
        && register(control).is_ok()
        && install(Signal::SIGALRM, on_signal, SaFlags::SA_RESTART, &lock).is_ok()
    {
        control.limits.are_enforced.set();
        return true;
    }
    // The program has its own handler, or too many servers use signals.
    tracing::error!("SIGALRM cannot be handled: deadlines are not enforced");
    control.limits.are_unenforceable.set();
    false
}

/// Installs the handlers for crashes, before the first connection is served, if signals stop this
/// server: its program has called `stop_on_signals`, or the process is a child.
#[cold]
pub(crate) fn install_crash_handlers(control: &Control) {
    // A child has inherited the handlers, and taking the lock would copy a page.
    if !control.role.stops_on_signals.is_set() || CRASH_SIGNALS.into_iter().all(is_installed) {
        return;
    }
    let lock = lock_signals();
    prepare_crash_frames();
    for signal in CRASH_SIGNALS {
        // A program that ignores such a signal survives when it is sent.
        if current_action(signal).sa_sigaction != libc::SIG_IGN {
            // A stack that has overflowed has no room for the handler.
            let flags = SaFlags::SA_RESTART | SaFlags::SA_ONSTACK;
            let _ = install(signal, on_signal, flags, &lock);
        }
    }
}

/// Cancels the end of the grace and restores the host program's handlers, since the program may go
/// on after it has served. Does nothing while the server or its children exist or request handlers
/// still run, because these need the signals.
pub(crate) fn release_signals(control: &Control) {
    let is_needed = !control.role.server_is_dropped.is_set()
        || control.role.supervises.is_set()
        || control.scoreboard.has_own_slot();
    if is_needed {
        return;
    }
    let lock = lock_signals();
    control.limits.grace_ends.store(0, Ordering::SeqCst);
    registered::unregister(control);
    if !registered::any(|other| other.role.stops_on_signals.is_set()) {
        STOP_SIGNALS.into_iter().for_each(|signal| uninstall(signal, &lock));
    }
    if !registered::any(|_| true) {
        disarm();
        uninstall(Signal::SIGALRM, &lock);
        CRASH_SIGNALS.into_iter().for_each(|signal| uninstall(signal, &lock));
    }
}

/// The last connection may end after its server was dropped.
impl SlotOwner for Control {
    fn scoreboard(&self) -> &Scoreboard {
        &self.scoreboard
    }

    fn slot_released(&self) {
        if self.role.server_is_dropped.is_set() {
            release_signals(self);
        }
    }
}

/// Called in a new child with all signals blocked. The child has the memory of its parent but not
/// its timer, and serves for this server only.
pub(crate) fn reset_child_signals(control: &Arc<Control>) -> io::Result<()> {
    reset_child_timer();
    control.limits.grace_ends.store(0, Ordering::SeqCst);
    registered::unregister_others(control);
    if !control.role.stops_on_signals.is_set() {
        stop_on_signals(control)?;
    }
    // The previous action is not kept: a child serves until it exits, and keeping it would copy one
    // more page.
    set_handler(Signal::SIGHUP, on_signal, SaFlags::SA_RESTART)
}

/// `mask` without the signals that a child must receive.
pub fn heard_by_child(mut mask: SigSet) -> SigSet {
    STOP_SIGNALS
        .into_iter()
        .chain([Signal::SIGALRM, Signal::SIGHUP])
        .for_each(|signal| mask.remove(signal));
    mask
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    extern "C" fn handler_of_the_program(_: libc::c_int) {}

    fn control() -> Arc<Control> {
        Control::new(Duration::from_secs(1)).unwrap()
    }

    fn end(control: &Control) {
        control.role.server_is_dropped.set();
        release_signals(control);
    }

    /// One test, because signals belong to the whole process.
    #[test]
    fn the_handler_of_the_alarm_is_installed_and_uninstalled() {
        let of_program = handler_of_the_program as *const () as libc::sighandler_t;
        // SAFETY: the handler does nothing.
        unsafe { libc::signal(libc::SIGALRM, of_program) };
        let refused = control();
        assert!(!install_deadline_handler(&refused), "the program has a handler");
        assert!(!install_deadline_handler(&refused), "nor later");
        end(&refused);
        assert_eq!(current_action(Signal::SIGALRM).sa_sigaction, of_program);

        for before in [libc::SIG_DFL, libc::SIG_IGN] {
            // SAFETY: no handler is installed.
            unsafe { libc::signal(libc::SIGALRM, before) };
            let (first, second) = (control(), control());
            assert!(install_deadline_handler(&first) && install_deadline_handler(&second));
            arm(moment_in(Duration::from_secs(60)));
            end(&first);
            assert_ne!(current_action(Signal::SIGALRM).sa_sigaction, before, "one is left");
            end(&second);
            assert_eq!(current_action(Signal::SIGALRM).sa_sigaction, before);
            assert_eq!(Arc::strong_count(&first), 1, "no reference is kept");
            assert_eq!(Arc::strong_count(&second), 1);
            // SAFETY: alarm(2) takes an integer. It shares the timer with setitimer(2).
            assert_eq!(unsafe { libc::alarm(0) }, 0, "the timer is off");
        }
    }
}
