//! What signals do in a process of a server: those that stop it, the alarm, those of a crash.
//!
//! Handlers belong to the whole process. They do what any thread may do at any time: set flags,
//! walk the scoreboard, and call what signal-safety(7) lists. What was installed before is put
//! back when the last server that needed them is gone.
#![allow(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nix::libc;
use nix::sys::signal::{SaFlags, SigSet, Signal};

use crate::stop::control::Control;
use crate::stop::crash::{CRASH_SIGNALS, happens_again, on_crash, prepare_crash_frames};
use crate::stop::deadline_timer::{arm, disarm, on_alarm, reset_child_timer};
use crate::stop::handlers::{
    Context, current_action, install, is_installed, lock_signals, previous_action, set_handler,
    uninstall,
};
use crate::stop::registered::{self, InHandler, is_signalled, register, set_signalled};
use crate::sys::clock::{NEVER, moment_in};
use crate::sys::exit::{EXIT_INTERRUPTED, EXIT_QUIT, exit_now};
use crate::sys::pid::own_pid;

const STOP_SIGNALS: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];

/// What each signal does in a process that serves, or may. A parent reads the signals that stop it
/// from a queue instead, and [`obey`]s them.
extern "C" fn on_signal(signal: libc::c_int, info: *mut libc::siginfo_t, context: Context) {
    // SAFETY: errno's address is valid in every thread.
    let saved_errno = unsafe { *libc::__errno_location() };
    let handler = InHandler::enter();
    // SAFETY: the kernel passes a valid siginfo_t.
    let sent = unsafe { &*info };
    match signal {
        libc::SIGTERM | libc::SIGINT | libc::SIGHUP => {
            if let Some(control) = handler.signalled() {
                obey(control, signal, control.role.is_child.is_set() && is_from_parent(sent));
            }
        }
        // A timer has a positive code.
        libc::SIGALRM => on_alarm(sent.si_code <= 0, &handler),
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

/// What each signal does that ends a server or a process of it. Async-signal-safe.
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
    // A parent that tells its child to stop also ends it when the grace is over. Should the
    // parent die before, the kernel sends the signal once more, and then it is not the parent's.
    // One that serves in several threads waits for them by its own time.
    let waits_for_threads = control.role.serves_in_threads.is_set();
    let ends_by_itself =
        !control.role.supervises.is_set() && (!is_from_parent || waits_for_threads);
    // Before the stop: a server that has nothing to do returns at once, in another thread, and
    // calls off what is set by then.
    let grace_ends = &control.limits.grace_ends;
    if ends_by_itself && grace_ends.load(Ordering::SeqCst) == NEVER {
        let ends = moment_in(control.grace());
        grace_ends.store(ends, Ordering::SeqCst);
        arm(ends);
    }
    control.stop();
}

/// Whoever has children must take them along, which is not for a signal handler.
fn end_at_once(control: &Control, status: i32) {
    if !control.role.supervises.is_set() {
        exit_now(status);
    }
    control.role.end_at_once(status);
    control.stop();
}

/// Whether the parent of this process has sent a signal by kill(2). What the kernel sends when the
/// parent has died is not: by then the parent is another. Async-signal-safe.
fn is_from_parent(info: &libc::siginfo_t) -> bool {
    // SAFETY: a signal that was sent by kill(2) has a sender; getppid(2) takes nothing.
    info.si_code == libc::SI_USER && unsafe { info.si_pid() == libc::getppid() }
}

/// Ends the process by a crash that does not happen again by itself: somebody has sent it, such as
/// abort(3). The host program's handler, if it has one, is called and may return, as std's does;
/// but callers were told of a crash, so there must be one. Async-signal-safe if that handler is.
fn die_by_signal(signal: libc::c_int, info: *mut libc::siginfo_t, context: Context) {
    if let Some(action) = previous_action(signal)
        && ![libc::SIG_DFL, libc::SIG_IGN].contains(&action.sa_sigaction)
    {
        if action.sa_flags & libc::SA_SIGINFO != 0 {
            // SAFETY: sigaction(2): with this flag it is the address of such a function.
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, Context) =
                unsafe { std::mem::transmute(action.sa_sigaction) };
            handler(signal, info, context);
        } else {
            // SAFETY: sigaction(2): without it, of such a function.
            let handler: extern "C" fn(libc::c_int) =
                unsafe { std::mem::transmute(action.sa_sigaction) };
            handler(signal);
        }
    }
    // SAFETY: signal(2) and raise(3) take integers; the signal is blocked until we return.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Lets SIGTERM and SIGINT stop this server.
pub(crate) fn stop_on_signals(control: &Arc<Control>) -> io::Result<()> {
    let lock = lock_signals();
    register(control)?;
    set_signalled(Some(control));
    control.limits.are_enforced.set();
    let signals = STOP_SIGNALS.into_iter().chain([Signal::SIGALRM]);
    for signal in signals.clone() {
        install(signal, on_signal, SaFlags::SA_RESTART, &lock)?;
    }
    // A mask outlives exec(3), so whoever started this program may have left them blocked.
    Ok(SigSet::from_iter(signals).thread_unblock()?)
}

/// Prepares for deadlines, at the first one. `false`: the host program has a handler of its own for
/// SIGALRM and has not given us the signals, so nobody will watch.
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
    tracing::error!("SIGALRM belongs to the program: deadlines are not enforced");
    control.limits.are_unenforceable.set();
    false
}

/// Prepares for a crash, before the first connection is served, in a process that is ours: a child,
/// or one whose host program gave us the signals.
#[cold]
pub(crate) fn install_crash_handlers(control: &Control) {
    // A child has inherited them, and to lock is to write a page.
    if !is_signalled(control) || CRASH_SIGNALS.into_iter().all(is_installed) {
        return;
    }
    let lock = lock_signals();
    prepare_crash_frames();
    for signal in CRASH_SIGNALS {
        // Whoever ignores such a signal lives on when it is sent.
        if current_action(signal).sa_sigaction != libc::SIG_IGN {
            // A stack that has overflowed has no room for a handler.
            let flags = SaFlags::SA_RESTART | SaFlags::SA_ONSTACK;
            let _ = install(signal, on_signal, flags, &lock);
        }
    }
}

/// Calls off the end of the grace and gives the signals back to the host program, which may have
/// other things to do after it has served. Not before the server and the children are gone, and not
/// while handlers still run: the signals are for them.
pub(crate) fn release_signals(control: &Control) {
    let is_needed = !control.role.server_is_dropped.is_set()
        || control.role.supervises.is_set()
        || control.scoreboard.has_slot_of(own_pid());
    if is_needed {
        return;
    }
    let lock = lock_signals();
    control.limits.grace_ends.store(NEVER, Ordering::SeqCst);
    if is_signalled(control) {
        STOP_SIGNALS.into_iter().for_each(|signal| uninstall(signal, &lock));
        set_signalled(None);
    }
    registered::unregister(control);
    if registered::is_empty() {
        disarm();
        uninstall(Signal::SIGALRM, &lock);
        CRASH_SIGNALS.into_iter().for_each(|signal| uninstall(signal, &lock));
    }
}

/// In a new child, which has the memory of its parent but not its timer, and serves for this server
/// only. Signals are blocked.
pub(crate) fn reset_child_signals(control: &Arc<Control>) -> io::Result<()> {
    reset_child_timer();
    control.limits.grace_ends.store(NEVER, Ordering::SeqCst);
    registered::unregister_others(control);
    if !is_signalled(control) {
        stop_on_signals(control)?;
    }
    // What was there before is not kept: a child serves until it ends. That would be one more
    // page to copy.
    set_handler(Signal::SIGHUP, on_signal, SaFlags::SA_RESTART)
}

/// `mask` without the signals that a child must hear.
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
    fn the_alarm_is_borrowed_and_given_back() {
        let of_program = handler_of_the_program as *const () as libc::sighandler_t;
        // SAFETY: the handler does nothing.
        unsafe { libc::signal(libc::SIGALRM, of_program) };
        let refused = control();
        assert!(!install_deadline_handler(&refused), "the program uses it");
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
            assert_eq!(Arc::strong_count(&first), 1, "nothing is kept");
            assert_eq!(Arc::strong_count(&second), 1);
            // SAFETY: alarm(2) takes an integer. It shares the timer with setitimer(2).
            assert_eq!(unsafe { libc::alarm(0) }, 0, "the timer is off");
        }
    }
}
