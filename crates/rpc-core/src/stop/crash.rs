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

use crate::scoreboard::slot::End;
use crate::stop::control::Control;
use crate::stop::handlers::put_back;
use crate::stop::last_words::crashed_frame;
use crate::stop::registered::InHandler;
use crate::sys::pid::own_pid;

/// The signals that a process gets for a fault of its own. SIGTRAP is how abort instructions of
/// some processors end, SIGSYS is a system call that a filter forbids (seccomp(2)).
pub(crate) const CRASHES: [Signal; 7] = [
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
static LAST_WORDS: OnceLock<[Box<[u8]>; CRASHES.len()]> = OnceLock::new();

const SILENT: u32 = 0;
const SPEAKING: u32 = 1;
const SPOKEN: u32 = 2;

static SPEECH: AtomicU32 = AtomicU32::new(SILENT);

/// Writes what may have to be said, before it has to be.
pub(crate) fn prepare_last_words() {
    LAST_WORDS.get_or_init(|| CRASHES.map(crashed_frame));
}

/// Says the last words and puts back what was installed before. Async-signal-safe.
///
/// All signals are blocked in this thread meanwhile, so a fault in here ends the process at once
/// (the kernel does that), and nobody comes here twice. Another thread that crashes too waits:
/// if it went on, the process could end before the first has spoken.
pub(crate) fn on_crash(signal: libc::c_int, handler: &InHandler) {
    let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
    if SPEECH.compare_exchange(SILENT, SPEAKING, success, failure).is_ok() {
        let at = CRASHES.iter().position(|&known| known as libc::c_int == signal);
        handler.each_control(stop_in_crash);
        if let (Some(words), Some(at)) = (LAST_WORDS.get(), at) {
            handler.each_control(|control| {
                control.scoreboard.answer_instead(own_pid(), &words[at], End::WithProcess);
            });
        }
        // All of them: what was installed for one may raise another, as std does after a stack
        // overflow, and there is little room left on a signal stack.
        CRASHES.into_iter().for_each(put_back);
        SPEECH.store(SPOKEN, Ordering::SeqCst);
    }
    while SPEECH.load(Ordering::SeqCst) == SPEAKING {
        thread::yield_now();
    }
}

/// Stops because the process crashes in this thread: whoever connects from now on is for another
/// worker. Waits a moment until the thread that accepts has heard of it. Async-signal-safe.
fn stop_in_crash(control: &Control) {
    const MAX_LOOKS: usize = 1000;
    control.stop();
    for _ in 0..MAX_LOOKS {
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
