//! Stopping: by a signal or by a call, at once for idle connections, after the request for others.
//!
//! A stop is a flag, a walk over the process's own slots, and a wake-up for the accept loop. All
//! three are async-signal-safe, so the signal handler does what [`Shutdown::stop`] does and no
//! polling interval exists.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::libc;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use rpc_proto::FrameWriter;

use crate::refusal::{append_error, stopped_before_the_end};
use crate::scoreboard::{Scoreboard, own_pid};

/// The status with which a process ends that was told to stop by a signal and still had handlers
/// running when the grace was over; the number that timeout(1) uses for the same thing.
pub const EXIT_GRACE_EXPIRED: i32 = 124;

/// The status of a process that a second SIGINT ended at once: 128 and the signal's number, as
/// shells report it.
pub(crate) const EXIT_INTERRUPTED: i32 = 128 + libc::SIGINT;

/// Ends the serving of one acceptor, from any thread.
///
/// ```
/// # use rpc_core::{Acceptor, Address};
/// let acceptor = Acceptor::bind(&"127.0.0.1:0".parse()?)?;
/// let shutdown = acceptor.shutdown();
/// let controlling_thread = std::thread::spawn(move || shutdown.stop());
/// # controlling_thread.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Shutdown {
    control: Arc<Control>,
}

impl Shutdown {
    pub(crate) fn new(control: Arc<Control>) -> Shutdown {
        Shutdown { control }
    }

    /// Tells the server to stop, and returns at once.
    ///
    /// It accepts nobody any more, ends idle connections, and answers the requests that it has
    /// received. `serve` returns when that is done. A second call changes nothing.
    pub fn stop(&self) {
        self.control.stop();
    }

    /// Whether the server was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.control.is_stopping()
    }
}

/// What an acceptor, its connections and the signal handler share within one process.
pub(crate) struct Control {
    stopping: AtomicBool,
    wake: EventFd,
    pub(crate) scoreboard: Arc<Scoreboard>,
    grace_ms: AtomicU64,
    /// Set in a process whose children serve: it waits for them and ends them, so its own time
    /// must not be cut short.
    supervises: AtomicBool,
    serves_no_more: AtomicBool,
    interrupted: AtomicBool,
    interrupted_again: AtomicBool,
    /// Whether the end of the grace will be signalled.
    alarm_is_set: AtomicBool,
    /// What the host program had installed for the signals that stop the server.
    signals_before: Mutex<Option<[(Signal, SigAction); 3]>>,
    /// The framed error for callers whose handlers run when the grace is over.
    last_words: Box<[u8]>,
    /// The thread that accepts on a socket that it shares with other processes, 0 when none does,
    /// and that socket.
    accepting_thread: AtomicI32,
    accepting_on: AtomicI32,
}

impl Control {
    pub(crate) fn new(grace: Duration) -> io::Result<Control> {
        let mut frame = FrameWriter::new();
        append_error(&mut frame, &stopped_before_the_end());
        let control = Control {
            stopping: AtomicBool::new(false),
            wake: new_wake()?,
            scoreboard: Arc::new(Scoreboard::new()?),
            grace_ms: AtomicU64::new(0),
            supervises: AtomicBool::new(false),
            serves_no_more: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            interrupted_again: AtomicBool::new(false),
            alarm_is_set: AtomicBool::new(false),
            signals_before: Mutex::new(None),
            last_words: frame.as_bytes().into(),
            accepting_thread: AtomicI32::new(0),
            accepting_on: AtomicI32::new(-1),
        };
        control.set_grace(grace);
        Ok(control)
    }

    pub(crate) fn set_grace(&self, grace: Duration) {
        let millis = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.grace_ms.store(millis.max(1), Ordering::SeqCst);
    }

    pub(crate) fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms.load(Ordering::SeqCst))
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Async-signal-safe. The flag is set before the walk, and a connection publishes its slot
    /// before it looks at the flag, so none is missed.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.scoreboard.stop_reading(own_pid());
        let one = 1_u64.to_ne_bytes();
        // SAFETY: `one` is eight live bytes; the descriptor is open as long as `self`.
        unsafe { libc::write(self.wake.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        self.end_shared_listening();
    }

    /// Says that this thread, of a worker, accepts on `listener`, a socket that others share.
    pub(crate) fn accept_in_this_thread(&self, listener: BorrowedFd<'_>) {
        self.accepting_on.store(listener.as_raw_fd(), Ordering::SeqCst);
        self.accepting_thread.store(own_thread(), Ordering::SeqCst);
    }

    /// Says that the listening socket is about to be closed. In the thread that accepts on it.
    pub(crate) fn accept_no_more(&self) {
        self.accepting_thread.store(0, Ordering::SeqCst);
    }

    /// Ends the listening of a worker: its accepting thread, in its signal handler, puts the
    /// wake-up descriptor in the place of the listening socket.
    ///
    /// An accept(2) that was running ends by the signal; one that was about to run fails with
    /// ENOTSOCK, where a flag would be missed by a thread that has just looked at it. And if the
    /// thread is serving, nobody connects to a queue that it would never look at again.
    /// Async-signal-safe.
    fn end_shared_listening(&self) {
        let thread = self.accepting_thread.load(Ordering::SeqCst);
        if thread == own_thread() {
            let listener = self.accepting_on.load(Ordering::SeqCst);
            // SAFETY: both descriptors are open: this thread owns the second one and says so
            // before it closes it.
            unsafe { libc::dup3(self.wake.as_raw_fd(), listener, libc::O_CLOEXEC) };
        } else if thread != 0 {
            // SAFETY: tgkill(2) takes three integers.
            unsafe { libc::syscall(libc::SYS_tgkill, own_pid(), thread, libc::SIGTERM) };
        }
    }

    /// Tells the callers whose handlers still run in this process that they will get no result.
    /// Async-signal-safe.
    pub(crate) fn answer_unfinished(&self) {
        self.scoreboard.answer_instead(own_pid(), &self.last_words);
    }

    /// Says whether this process has children that serve.
    pub(crate) fn supervise(&self, supervises: bool) {
        self.supervises.store(supervises, Ordering::SeqCst);
        self.give_signals_back();
    }

    /// Says that the acceptor of this process is gone.
    pub(crate) fn serve_no_more(&self) {
        self.serves_no_more.store(true, Ordering::SeqCst);
        self.give_signals_back();
    }

    /// Whether a second SIGINT asks a supervising process to end everything at once.
    pub(crate) fn is_interrupted_again(&self) -> bool {
        self.interrupted_again.load(Ordering::SeqCst)
    }

    /// The descriptor that becomes readable when the server is told to stop.
    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Makes the descriptor unreadable again after a wake-up that meant nothing.
    pub(crate) fn drain_wake(&self) {
        let _ = self.wake.read();
    }

    /// In a new child: a wake-up of its own, since an eventfd is shared by a fork, and handlers
    /// for the stop signals even if its parent has none.
    pub(crate) fn adopt_in_child(self: &Arc<Control>) -> io::Result<()> {
        let wake = OwnedFd::from(new_wake()?);
        // SAFETY: both descriptors are open; the old one is replaced in one step, so that a
        // signal handler never writes into a closed one.
        if unsafe { libc::dup3(wake.as_raw_fd(), self.wake.as_raw_fd(), libc::O_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
        self.supervise(false);
        self.accept_no_more();
        self.alarm_is_set.store(false, Ordering::SeqCst);
        if !ptr::eq(SIGNALLED.load(Ordering::Acquire), Arc::as_ptr(self)) {
            self.stop_on_signals()?;
        }
        Ok(())
    }

    /// Lets SIGTERM and SIGINT stop this acceptor.
    pub(crate) fn stop_on_signals(self: &Arc<Control>) -> io::Result<()> {
        let leaked = Arc::into_raw(Arc::clone(self)).cast_mut();
        SIGNALLED.store(leaked, Ordering::Release);
        let mut both = SigSet::empty();
        both.add(Signal::SIGTERM);
        both.add(Signal::SIGINT);
        let before = [
            (Signal::SIGTERM, install(Signal::SIGTERM, on_stop_signal, both)?),
            (Signal::SIGINT, install(Signal::SIGINT, on_stop_signal, both)?),
            (Signal::SIGALRM, install(Signal::SIGALRM, on_grace_expired, both)?),
        ];
        let mut signals_before = self.signals_before.lock().unwrap_or_else(PoisonError::into_inner);
        signals_before.get_or_insert(before);
        Ok(())
    }

    /// Calls off the end of the grace and gives the signals back to the host program, which may
    /// have other things to do after it has served. Not before the acceptor and the children are
    /// gone, and not while handlers still run: the signals are for them.
    fn give_signals_back(&self) {
        let serves = !self.serves_no_more.load(Ordering::SeqCst)
            || self.supervises.load(Ordering::SeqCst)
            || self.scoreboard.has_slot_of(own_pid());
        let others_asked_later = !ptr::eq(SIGNALLED.load(Ordering::Acquire), self);
        if serves || others_asked_later {
            return;
        }
        if self.alarm_is_set.load(Ordering::SeqCst) {
            set_alarm(Duration::ZERO);
        }
        let mut signals_before = self.signals_before.lock().unwrap_or_else(PoisonError::into_inner);
        for (signal, action) in signals_before.take().into_iter().flatten() {
            // SAFETY: the action is the one that the host program had installed.
            let _ = unsafe { sigaction(signal, &action) };
        }
        SIGNALLED.store(ptr::null_mut(), Ordering::Release);
    }

    /// Async-signal-safe.
    fn on_stop_signal(&self, signal: libc::c_int) {
        let supervises = self.supervises.load(Ordering::SeqCst);
        if signal == libc::SIGINT && self.interrupted.swap(true, Ordering::SeqCst) {
            // Whoever has children must take them along, which is not for a signal handler.
            if !supervises {
                exit_now(EXIT_INTERRUPTED);
            }
            self.interrupted_again.store(true, Ordering::SeqCst);
        }
        // Before the stop: a server that has nothing to do returns at once, in another thread, and
        // calls off what is set by then.
        if !supervises && !self.alarm_is_set.swap(true, Ordering::SeqCst) {
            set_alarm(self.grace());
        }
        self.stop();
    }
}

/// gettid(2). Async-signal-safe.
fn own_thread() -> i32 {
    // SAFETY: gettid(2) takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

fn new_wake() -> io::Result<EventFd> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    Ok(EventFd::from_value_and_flags(0, flags)?)
}

/// The acceptor that signals stop. Leaked once per acceptor that asked, never freed: a signal
/// handler may be looking at it.
static SIGNALLED: AtomicPtr<Control> = AtomicPtr::new(ptr::null_mut());

/// Returns what was there before.
fn install(
    signal: Signal,
    handler: extern "C" fn(libc::c_int),
    mask: SigSet,
) -> io::Result<SigAction> {
    let action = SigAction::new(SigHandler::Handler(handler), SaFlags::SA_RESTART, mask);
    // SAFETY: the handlers below call async-signal-safe functions only and keep errno.
    Ok(unsafe { sigaction(signal, &action) }?)
}

extern "C" fn on_stop_signal(signal: libc::c_int) {
    // SAFETY: errno's address is valid in every thread.
    let saved_errno = unsafe { *libc::__errno_location() };
    // SAFETY: null, or a leaked Control.
    if let Some(control) = unsafe { SIGNALLED.load(Ordering::Acquire).as_ref() } {
        control.on_stop_signal(signal);
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

/// How many bytes have come on the socket that were not read, ioctl(2) FIONREAD.
pub(crate) fn unread_len(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut len: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, and `len` is one.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &mut len) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(len).unwrap_or(0))
}

/// Ends the process without running anything else in it. Async-signal-safe.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) takes no pointer and does not return.
    unsafe { libc::_exit(status) }
}
