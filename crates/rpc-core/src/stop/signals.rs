//! Signals: those that end a server, the alarm, and those of a crash.
//!
//! Handlers belong to the whole process. They do what any thread may do at any time: set flags,
//! walk the scoreboard, and call what signal-safety(7) lists. What was installed before is put
//! back when the last acceptor that needed them is gone.
#![allow(unsafe_code)]

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::scoreboard::table::own_pid;
use crate::stop::control::Control;
use crate::stop::crash::{CRASHES, happens_again, on_crash, prepare_last_words};
use crate::stop::deadline_timer::{NEVER, arm, disarm, forget_timer, moment_in, on_alarm};
use crate::sys::exit::{EXIT_INTERRUPTED, EXIT_QUIT, exit_now};

const STOPS: [Signal; 2] = [Signal::SIGTERM, Signal::SIGINT];

impl Control {
    /// Lets SIGTERM and SIGINT stop this acceptor.
    pub(crate) fn stop_on_signals(self: &Arc<Control>) -> io::Result<()> {
        let lock = lock_signals();
        self.show_to_handlers(&lock);
        SIGNALLED.store(Arc::as_ptr(self).cast_mut(), Ordering::SeqCst);
        self.watches_time.store(true, Ordering::SeqCst);
        let signals = STOPS.into_iter().chain([Signal::SIGALRM]);
        signals.clone().try_for_each(|signal| install(signal, &lock))?;
        // A mask outlives exec(3), so whoever started this program may have left them blocked.
        Ok(SigSet::from_iter(signals).thread_unblock()?)
    }

    /// Whether signals stop this acceptor, and not one that asked later.
    pub(crate) fn is_signalled(&self) -> bool {
        ptr::eq(SIGNALLED.load(Ordering::Acquire), self)
    }

    /// Prepares for deadlines, at the first one. `false`: the host program has a handler of its own
    /// for SIGALRM and has not given us the signals, so nobody will watch.
    #[cold]
    pub(crate) fn watch_time(self: &Arc<Control>) -> bool {
        if self.time_is_refused.load(Ordering::SeqCst) {
            return false;
        }
        let lock = lock_signals();
        let free = [libc::SIG_DFL, libc::SIG_IGN];
        let may_install =
            is_ours(Signal::SIGALRM) || free.contains(&installed(Signal::SIGALRM).sa_sigaction);
        if may_install && install(Signal::SIGALRM, &lock).is_ok() {
            self.show_to_handlers(&lock);
            self.watches_time.store(true, Ordering::SeqCst);
            return true;
        }
        tracing::error!("SIGALRM belongs to the program: deadlines are not enforced");
        self.time_is_refused.store(true, Ordering::SeqCst);
        false
    }

    /// Prepares for a crash, before the first connection is served, in a process that is ours: a
    /// child, or one whose host program gave us the signals.
    #[cold]
    pub(crate) fn watch_crashes(self: &Arc<Control>) {
        // A child has inherited them, and to lock is to write a page.
        if !self.is_signalled() || CRASHES.into_iter().all(is_ours) {
            return;
        }
        let lock = lock_signals();
        prepare_last_words();
        for signal in CRASHES {
            let _ = install(signal, &lock);
        }
    }

    /// Lets the handlers find this acceptor, until [`give_signals_back`](Self::give_signals_back).
    fn show_to_handlers(self: &Arc<Control>, _lock: &MutexGuard<'static, ()>) {
        let shown = Arc::as_ptr(self).cast_mut();
        if entries().any(|entry| entry.control.load(Ordering::SeqCst) == shown) {
            return;
        }
        let counted = Arc::into_raw(Arc::clone(self)).cast_mut();
        match entries().find(|entry| entry.control.load(Ordering::SeqCst).is_null()) {
            Some(free) => free.control.store(counted, Ordering::SeqCst),
            None => {
                let next = entries().next();
                let entry = Entry { control: AtomicPtr::new(counted), next };
                ENTRIES.store(Box::leak(Box::new(entry)), Ordering::SeqCst);
            }
        }
    }

    /// Calls off the end of the grace and gives the signals back to the host program, which may
    /// have other things to do after it has served. Not before the acceptor and the children are
    /// gone, and not while handlers still run: the signals are for them.
    pub(crate) fn give_signals_back(&self) {
        let serves = !self.serves_no_more.load(Ordering::SeqCst)
            || self.supervises.load(Ordering::SeqCst)
            || self.scoreboard.has_slot_of(own_pid());
        if serves {
            return;
        }
        let lock = lock_signals();
        self.grace_ends.store(NEVER, Ordering::SeqCst);
        if self.is_signalled() {
            STOPS.into_iter().for_each(|signal| give_back(signal, &lock));
            SIGNALLED.store(ptr::null_mut(), Ordering::SeqCst);
        }
        let own = ptr::from_ref(self).cast_mut();
        for entry in entries() {
            let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
            if entry.control.compare_exchange(own, ptr::null_mut(), success, failure).is_ok() {
                wait_for_handlers();
                // SAFETY: it was counted when it was shown, and no handler has it any more.
                drop(unsafe { Arc::from_raw(own) });
            }
        }
        if entries().all(|entry| entry.control.load(Ordering::SeqCst).is_null()) {
            disarm();
            give_back(Signal::SIGALRM, &lock);
            CRASHES.into_iter().for_each(|signal| give_back(signal, &lock));
        }
    }

    /// In a new child, which has the memory of its parent but not its timer, and serves for this
    /// acceptor only. Signals are blocked.
    pub(crate) fn take_signals_in_child(self: &Arc<Control>) -> io::Result<()> {
        forget_timer();
        self.grace_ends.store(NEVER, Ordering::SeqCst);
        for entry in entries() {
            if !ptr::eq(entry.control.load(Ordering::SeqCst), Arc::as_ptr(self)) {
                entry.control.store(ptr::null_mut(), Ordering::SeqCst);
            }
        }
        if !self.is_signalled() {
            self.stop_on_signals()?;
        }
        // What was there before is not kept: a child serves until it ends. That would be one more
        // page to copy.
        handle(Signal::SIGHUP, SaFlags::SA_RESTART)
    }

    /// The grace is not for this process, or no longer.
    pub(crate) fn call_off_alarm(&self) {
        self.grace_ends.store(NEVER, Ordering::SeqCst);
    }

    /// Does what SIGTERM, SIGINT, SIGQUIT or, in a child, SIGHUP asks for. Async-signal-safe.
    pub(crate) fn obey(&self, signal: libc::c_int, is_from_parent: bool) {
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
        // A parent that tells its child to stop also ends it when the grace is over. Should the
        // parent die before, the kernel sends the signal once more, and then it is not the parent's.
        // One that serves in several threads waits for them by its own time.
        let waits_for_threads = self.serves_in_threads.load(Ordering::SeqCst);
        let ends_by_itself = !supervises && (!is_from_parent || waits_for_threads);
        // Before the stop: a server that has nothing to do returns at once, in another thread, and
        // calls off what is set by then.
        if ends_by_itself && self.grace_ends.load(Ordering::SeqCst) == NEVER {
            let ends = moment_in(self.grace());
            self.grace_ends.store(ends, Ordering::SeqCst);
            arm(ends);
        }
        self.stop();
    }
}

/// `mask` without the signals that a child must hear.
pub fn heard_by_child(mut mask: SigSet) -> SigSet {
    STOPS
        .into_iter()
        .chain([Signal::SIGALRM, Signal::SIGHUP])
        .for_each(|signal| mask.remove(signal));
    mask
}

/// The acceptor that signals stop; one that is shown to the handlers.
static SIGNALLED: AtomicPtr<Control> = AtomicPtr::new(ptr::null_mut());

/// In a process that is about to execute another program: what has a handler here has its default
/// there, and should have it already when it is let through. What was ignored before us stays so,
/// as nohup(1) wants it.
pub fn forget_handlers() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGALRM, Signal::SIGHUP] {
        // SAFETY: null, or a box as in `put_back`.
        let replaced = unsafe { before(signal).load(Ordering::SeqCst).as_ref() };
        let replaced = replaced.map_or_else(|| installed(signal), |action| *action);
        let handler = match replaced.sa_sigaction {
            libc::SIG_IGN => SigHandler::SigIgn,
            _ => SigHandler::SigDfl,
        };
        let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
        // SAFETY: neither is a handler.
        let _ = unsafe { sigaction(signal, &action) };
    }
}

/// The acceptors that handlers look after. Entries are used again and never freed.
static ENTRIES: AtomicPtr<Entry> = AtomicPtr::new(ptr::null_mut());

struct Entry {
    control: AtomicPtr<Control>,
    next: Option<&'static Entry>,
}

fn entries() -> impl Iterator<Item = &'static Entry> {
    // SAFETY: null, or an entry, which is never freed.
    let first = unsafe { ENTRIES.load(Ordering::SeqCst).as_ref() };
    std::iter::successors(first, |entry| entry.next)
}

/// Runs `action` on every acceptor that handlers look after. In a handler only.
pub(crate) fn each_control(mut action: impl FnMut(&Control)) {
    for entry in entries() {
        // SAFETY: null, or a Control that is kept until no handler runs that may have found it.
        if let Some(control) = unsafe { entry.control.load(Ordering::SeqCst).as_ref() } {
            action(control);
        }
    }
}

/// How many handlers run. Each says so before it looks for acceptors.
static HANDLERS: AtomicUsize = AtomicUsize::new(0);

/// Waits for the handlers of other threads that may have found what was just hidden from them.
fn wait_for_handlers() {
    while HANDLERS.load(Ordering::SeqCst) != 0 {
        thread::yield_now();
    }
}

/// For whoever installs handlers or gives them back. Never held while this process forks.
fn lock_signals() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the host program had installed, while our handler stands in its place, by the signal's
/// number. Behind a pointer, since the handler of a crash puts it back and must not lock.
static BEFORE: [AtomicPtr<libc::sigaction>; 32] = [const { AtomicPtr::new(ptr::null_mut()) }; 32];

fn before(signal: Signal) -> &'static AtomicPtr<libc::sigaction> {
    &BEFORE[signal as usize]
}

fn is_ours(signal: Signal) -> bool {
    !before(signal).load(Ordering::SeqCst).is_null()
}

/// What is installed for `signal`.
fn installed(signal: Signal) -> libc::sigaction {
    // SAFETY: all zeroes is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: sigaction(2) changes nothing when there is no new action, and `action` is live.
    unsafe { libc::sigaction(signal as libc::c_int, ptr::null(), &mut action) };
    action
}

fn install(signal: Signal, _lock: &MutexGuard<'static, ()>) -> io::Result<()> {
    if is_ours(signal) {
        return Ok(());
    }
    let replaced = installed(signal);
    let mut flags = SaFlags::SA_RESTART;
    if CRASHES.contains(&signal) {
        if replaced.sa_sigaction == libc::SIG_IGN {
            // Whoever ignores such a signal lives on when it is sent.
            return Ok(());
        }
        // A stack that has overflowed has no room for a handler.
        flags |= SaFlags::SA_ONSTACK;
    }
    // First, because the handler may be needed as soon as it is installed.
    before(signal).store(Box::into_raw(Box::new(replaced)), Ordering::SeqCst);
    let handled = handle(signal, flags);
    if handled.is_err() {
        forget_before(signal);
    }
    handled
}

fn handle(signal: Signal, flags: SaFlags) -> io::Result<()> {
    let action = SigAction::new(SigHandler::SigAction(on_signal), flags, SigSet::all());
    // SAFETY: `on_signal` calls async-signal-safe functions only and keeps errno.
    unsafe { sigaction(signal, &action) }.map(drop).map_err(io::Error::from)
}

fn give_back(signal: Signal, _lock: &MutexGuard<'static, ()>) {
    if !is_ours(signal) {
        return;
    }
    if signal == Signal::SIGALRM {
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        // SAFETY: no handler is installed. An alarm that was sent and not delivered is thrown
        // away thereby (sigaction(2)): the host program must not die of it.
        let _ = unsafe { sigaction(signal, &ignore) };
    }
    put_back(signal);
    forget_before(signal);
}

fn forget_before(signal: Signal) {
    let replaced = before(signal).swap(ptr::null_mut(), Ordering::SeqCst);
    wait_for_handlers();
    // SAFETY: it was a box, and no handler looks at it any more.
    drop(unsafe { Box::from_raw(replaced) });
}

/// Puts back what was installed before us. Async-signal-safe.
pub(crate) fn put_back(signal: Signal) {
    let action = before(signal).load(Ordering::SeqCst);
    if !action.is_null() {
        // SAFETY: a box that is kept until no handler runs that may have found it; the action is
        // the one that the host program had installed.
        unsafe { libc::sigaction(signal as libc::c_int, action, ptr::null_mut()) };
    }
}

/// What a handler is called with besides the signal's number.
type Context = *mut libc::c_void;

extern "C" fn on_signal(signal: libc::c_int, info: *mut libc::siginfo_t, context: Context) {
    // SAFETY: errno's address is valid in every thread.
    let saved_errno = unsafe { *libc::__errno_location() };
    HANDLERS.fetch_add(1, Ordering::SeqCst);
    match signal {
        // SAFETY: the kernel passes a valid siginfo_t. Its timers have a positive code.
        libc::SIGALRM => on_alarm(unsafe { (*info).si_code } <= 0),
        libc::SIGTERM | libc::SIGINT | libc::SIGHUP => {
            // SAFETY: null, or a Control as in `each_control`.
            if let Some(control) = unsafe { SIGNALLED.load(Ordering::SeqCst).as_ref() } {
                let is_child = control.is_child.load(Ordering::SeqCst);
                // SAFETY: the kernel passes a valid siginfo_t.
                control.obey(signal, is_child && is_from_parent(unsafe { &*info }));
            }
        }
        _ => {
            on_crash(signal);
            // SAFETY: the kernel passes a valid siginfo_t.
            let code = unsafe { (*info).si_code };
            if !happens_again(signal, code) {
                die_of(signal, info, context);
            }
        }
    }
    HANDLERS.fetch_sub(1, Ordering::SeqCst);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = saved_errno };
}

/// Whether the parent of this process has sent a signal by kill(2). What the kernel sends when the
/// parent has died is not: by then the parent is another, and the end of a pipe has another code.
/// Async-signal-safe.
fn is_from_parent(info: &libc::siginfo_t) -> bool {
    // SAFETY: a signal that was sent by kill(2) has a sender; getppid(2) takes nothing.
    info.si_code == libc::SI_USER && unsafe { info.si_pid() == libc::getppid() }
}

/// Ends the process by a crash that does not happen again by itself: somebody has sent it, such as
/// abort(3). The host program's handler, if it has one, is called and may return, as std's does;
/// but callers were told of a crash, so there must be one. Async-signal-safe if that handler is.
fn die_of(signal: libc::c_int, info: *mut libc::siginfo_t, context: Context) {
    let before = BEFORE[signal as usize].load(Ordering::SeqCst);
    // SAFETY: null, or a box as in `put_back`.
    if let Some(action) = unsafe { before.as_ref() }
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

/// SIGALRM after `delay`, or never if that is zero. Async-signal-safe.
pub(crate) fn set_timer(delay: Duration) {
    // In microseconds, rounded up: neither early nor, by a zero, never.
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

#[cfg(test)]
mod tests {
    use super::*;

    extern "C" fn handler_of_the_program(_: libc::c_int) {}

    fn control() -> Arc<Control> {
        Control::new(Duration::from_secs(1)).unwrap()
    }

    /// One test, because signals belong to the whole process.
    #[test]
    fn the_alarm_is_borrowed_and_given_back() {
        let of_program = handler_of_the_program as *const () as libc::sighandler_t;
        // SAFETY: the handler does nothing.
        unsafe { libc::signal(libc::SIGALRM, of_program) };
        let refused = control();
        assert!(!refused.watch_time(), "the program uses it");
        assert!(!refused.watch_time(), "nor later");
        refused.serve_no_more();
        assert_eq!(installed(Signal::SIGALRM).sa_sigaction, of_program);

        for before in [libc::SIG_DFL, libc::SIG_IGN] {
            // SAFETY: no handler is installed.
            unsafe { libc::signal(libc::SIGALRM, before) };
            let (first, second) = (control(), control());
            assert!(first.watch_time() && second.watch_time());
            arm(moment_in(Duration::from_secs(60)));
            first.serve_no_more();
            assert_ne!(installed(Signal::SIGALRM).sa_sigaction, before, "one is left");
            second.serve_no_more();
            assert_eq!(installed(Signal::SIGALRM).sa_sigaction, before);
            assert_eq!(Arc::strong_count(&first), 1, "nothing is kept");
            assert_eq!(Arc::strong_count(&second), 1);
            // SAFETY: alarm(2) takes an integer. It shares the timer with setitimer(2).
            assert_eq!(unsafe { libc::alarm(0) }, 0, "the timer is off");
        }
    }
}
