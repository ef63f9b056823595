//! The answers of a process that crashes.
//!
//! The signal handler for SIGSEGV and the like answers all calls whose handlers run in the process,
//! restores the previous signal handlers, and lets the signal occur again: the C library and the
//! host program see the same death as without it, including the core dump and "thread has
//! overflowed its stack".

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

/// The signals of a crash. Abort instructions of some processors raise SIGTRAP, and a system call
/// that a filter forbids raises SIGSYS (seccomp(2)).
pub(crate) const CRASH_SIGNALS: [Signal; 7] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGABRT,
    Signal::SIGTRAP,
    Signal::SIGSYS,
];

/// The signals that occur again when the instruction that raised them is repeated.
const REPEATED: [libc::c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];

/// The framed error for each of [`CRASH_SIGNALS`].
static CRASH_FRAMES: OnceLock<[Box<[u8]>; CRASH_SIGNALS.len()]> = OnceLock::new();

const UNANSWERED: u32 = 0;
const ANSWERING: u32 = 1;
const ANSWERED: u32 = 2;

/// Whether the process has answered its calls: one of the three above.
static STATE: AtomicU32 = AtomicU32::new(UNANSWERED);

/// Builds the answers in advance: a signal handler must not allocate.
pub(crate) fn prepare_crash_frames() {
    CRASH_FRAMES.get_or_init(|| CRASH_SIGNALS.map(crashed_frame));
}

/// Answers all calls of this process and restores the previous signal handlers. Async-signal-safe.
///
/// All signals are blocked in this thread meanwhile, so a fault in here ends the process at once
/// (the kernel does that), and no thread runs this twice. Another thread that crashes too waits: if
/// it continued, the process could end before the first thread has answered.
pub(crate) fn on_crash(signal: libc::c_int, handler: &InHandler) {
    let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
    if STATE.compare_exchange(UNANSWERED, ANSWERING, success, failure).is_ok() {
        let index = CRASH_SIGNALS.iter().position(|&known| known as libc::c_int == signal);
        handler.each_control(stop_in_crash);
        if let (Some(frames), Some(index)) = (CRASH_FRAMES.get(), index) {
            handler.each_control(|control| {
                control.scoreboard.answer_running(&frames[index], EndOfStream::AtExit);
            });
        }
        // For all of them: the previous handler of one may raise another, as that of std does after
        // a stack overflow, and a signal stack has little room left.
        CRASH_SIGNALS.into_iter().for_each(restore);
        STATE.store(ANSWERED, Ordering::SeqCst);
    }
    while STATE.load(Ordering::SeqCst) == ANSWERING {
        thread::yield_now();
    }
}

/// Stops the server because this process crashes, so that another worker gets new connections.
/// Waits a moment until the accepting thread has stopped. Async-signal-safe.
fn stop_in_crash(control: &Control) {
    const MAX_TRIES: usize = 10_000;
    control.stop();
    for _ in 0..MAX_TRIES {
        if control.listening.is_over() {
            return;
        }
        thread::yield_now();
    }
}

/// Whether `signal` occurs again when its handler returns. A positive code comes from the kernel,
/// and not from kill(2) or abort(3); sigaction(2).
pub(crate) fn happens_again(signal: libc::c_int, code: libc::c_int) -> bool {
    code > 0 && REPEATED.contains(&signal)
}
