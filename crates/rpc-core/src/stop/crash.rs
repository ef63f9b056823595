//! The last words of a process that dies of its own fault.
//!
//! The handler of SIGSEGV and the like answers every call whose handler runs in the process, puts
//! back what was installed before, and lets it happen again: the C library and the host program
//! see the same death as without it, core dump and "thread has overflowed its stack" included.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::libc;
use nix::sys::signal::Signal;

use crate::scoreboard::slot::EndOfStream;
use crate::stop::control::Control;
use crate::stop::handlers::restore;
use crate::stop::prepared_errors::crashed_frame;
use crate::stop::registered::InHandler;
use crate::sys::pid::own_pid;

/// The signals that a process gets for a fault of its own. SIGTRAP is how abort instructions of
/// some processors end, SIGSYS is a system call that a filter forbids (seccomp(2)).
pub(crate) const CRASH_SIGNALS: [Signal; 7] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGABRT,
    Signal::SIGTRAP,
    Signal::SIGSYS,
];

/// Those that happen again when the instruction that raised them is repeated.
const REPEATED: [libc::c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];

/// A frame for each of the signals.
static CRASH_FRAMES: OnceLock<[Box<[u8]>; CRASH_SIGNALS.len()]> = OnceLock::new();

const UNANSWERED: u32 = 0;
const ANSWERING: u32 = 1;
const ANSWERED: u32 = 2;

static STATE: AtomicU32 = AtomicU32::new(UNANSWERED);

/// Writes what may have to be said, before it has to be.
pub(crate) fn prepare_crash_frames() {
    CRASH_FRAMES.get_or_init(|| CRASH_SIGNALS.map(crashed_frame));
}

/// Says the last words and puts back what was installed before. Async-signal-safe.
///
/// All signals are blocked in this thread meanwhile, so a fault in here ends the process at once
/// (the kernel does that), and nobody comes here twice. Another thread that crashes too waits:
/// if it went on, the process could end before the first has spoken.
pub(crate) fn on_crash(signal: libc::c_int, handler: &InHandler) {
    let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
    if STATE.compare_exchange(UNANSWERED, ANSWERING, success, failure).is_ok() {
        let index = CRASH_SIGNALS.iter().position(|&known| known as libc::c_int == signal);
        handler.each_control(stop_in_crash);
        if let (Some(frames), Some(index)) = (CRASH_FRAMES.get(), index) {
            handler.each_control(|control| {
                control.scoreboard.answer_running(own_pid(), &frames[index], EndOfStream::AtExit);
            });
        }
        // All of them: what was installed for one may raise another, as std does after a stack
        // overflow, and there is little room left on a signal stack.
        CRASH_SIGNALS.into_iter().for_each(restore);
        STATE.store(ANSWERED, Ordering::SeqCst);
    }
    while STATE.load(Ordering::SeqCst) == ANSWERING {
        thread::yield_now();
    }
}

/// Stops because the process crashes in this thread: whoever connects from now on is for another
/// worker. Waits a moment until the thread that accepts has heard of it. Async-signal-safe.
fn stop_in_crash(control: &Control) {
    const MAX_TRIES: usize = 1000;
    control.stop();
    for _ in 0..MAX_TRIES {
        if control.listening.is_over() {
            return;
        }
        thread::yield_now();
    }
}

/// Whether to return from the handler is enough for `signal` to come again; sigaction(2): a
/// positive code comes from the kernel, and not from kill(2) or abort(3).
pub(crate) fn happens_again(signal: libc::c_int, code: libc::c_int) -> bool {
    code > 0 && REPEATED.contains(&signal)
}
