//! Stopping: by a signal or by a call, at once for idle connections, after the request for others.
//!
//! A stop is a flag, a walk over the process's own slots, and a wake-up for the accept loop. All
//! three are async-signal-safe, so the signal handler does what [`Shutdown::stop`] does and no
//! polling interval exists.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::libc;
use nix::sys::eventfd::{EfdFlags, EventFd};
use rpc_proto::{ERROR_KIND, FrameWriter, Response};

use crate::scoreboard::table::{End, Scoreboard, own_pid};
use crate::serve::refusal::{append_error, shutting_down, stopped_before_the_end};
use crate::stop::deadline_timer::NEVER;
use crate::stop::status_pipe::{REPLACE, Report, Reporter};
use crate::sys::buffers::{SpareBuffers, share_on_one_page};

/// No call is the last that this process should serve.
const NO_LIMIT: i64 = i64::MAX;

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
#[derive(Clone, Debug)]
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
    /// Set in a worker that accepts no more and goes when its last connection has ended.
    retiring: AtomicBool,
    wake: EventFd,
    pub(crate) scoreboard: Scoreboard,
    grace_ms: AtomicU64,
    /// Set in a process whose children serve: it waits for them and ends them, so its own time
    /// must not be cut short.
    pub(crate) supervises: AtomicBool,
    pub(crate) serves_no_more: AtomicBool,
    pub(crate) interrupted: AtomicBool,
    /// The status with which a supervising process ends at once, 0 while it does not.
    pub(crate) ends_at_once: AtomicI32,
    /// When the grace after a signal is over, as [`now`](crate::stop::deadline_timer::now) counts; [`NEVER`]
    /// before the signal.
    pub(crate) grace_ends: AtomicU64,
    /// Whether SIGALRM's handler looks after the deadlines of this process, or cannot.
    pub(crate) watches_time: AtomicBool,
    pub(crate) time_is_refused: AtomicBool,
    /// Whether this process has begun to serve connections.
    has_served: AtomicBool,
    /// Whether this process was forked to serve: it may end without harm to the server.
    pub(crate) is_child: AtomicBool,
    /// Whether other threads serve than the one that accepts.
    pub(crate) serves_in_threads: AtomicBool,
    /// The framed error for callers whose handlers run when the grace is over.
    pub(crate) last_words: Box<[u8]>,
    /// The body of the error for those who are connected and wait for nothing. Written before any
    /// fork, or each child of many would write it at the same time.
    pub(crate) goodbye: Box<[u8]>,
    /// The thread that accepts on a socket that it shares with other processes, 0 when none does,
    /// and that socket.
    accepting_thread: AtomicI32,
    accepting_on: AtomicI32,
    /// In a worker: how it speaks to its master. In a master that succeeds another: to that one.
    reporter: Mutex<Option<Reporter>>,
    /// The same without a lock, for a signal handler; -1 if there is none.
    status_pipe: AtomicI32,
    /// Calls until this process asks for its replacement.
    calls_left: AtomicI64,
    pub(crate) spare_buffers: SpareBuffers,
}

impl Control {
    pub(crate) fn new(grace: Duration) -> io::Result<Arc<Control>> {
        let mut frame = FrameWriter::new();
        append_error(&mut frame, &stopped_before_the_end());
        let mut goodbye = Vec::new();
        Response::encode(&mut goodbye, ERROR_KIND, &shutting_down())?;
        let control = Control {
            stopping: AtomicBool::new(false),
            retiring: AtomicBool::new(false),
            wake: new_wake()?,
            scoreboard: Scoreboard::new()?,
            grace_ms: AtomicU64::new(0),
            supervises: AtomicBool::new(false),
            serves_no_more: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            ends_at_once: AtomicI32::new(0),
            grace_ends: AtomicU64::new(NEVER),
            watches_time: AtomicBool::new(false),
            time_is_refused: AtomicBool::new(false),
            has_served: AtomicBool::new(false),
            is_child: AtomicBool::new(false),
            serves_in_threads: AtomicBool::new(false),
            last_words: frame.as_bytes().into(),
            goodbye: goodbye.into(),
            accepting_thread: AtomicI32::new(0),
            accepting_on: AtomicI32::new(-1),
            reporter: Mutex::new(None),
            status_pipe: AtomicI32::new(-1),
            calls_left: AtomicI64::new(NO_LIMIT),
            spare_buffers: SpareBuffers::none(),
        };
        control.set_grace(grace);
        Ok(share_on_one_page(control, |control| &control.spare_buffers))
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
        self.wake_up();
        self.end_shared_listening(libc::SIGTERM);
    }

    /// Accepts no more in this worker; its connections go on until they end by themselves.
    /// Async-signal-safe.
    pub(crate) fn retire(&self) {
        self.retiring.store(true, Ordering::SeqCst);
        self.wake_up();
        self.end_shared_listening(libc::SIGHUP);
    }

    /// Whether this process was told to stop, or to retire.
    pub(crate) fn accepts_no_more(&self) -> bool {
        self.is_stopping() || self.is_retiring()
    }

    pub(crate) fn is_retiring(&self) -> bool {
        self.retiring.load(Ordering::SeqCst)
    }

    /// Async-signal-safe.
    fn wake_up(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: `one` is eight live bytes; the descriptor is open as long as `self`.
        unsafe { libc::write(self.wake.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Says that this thread, of a worker, accepts on `listener`, a socket that others share.
    pub(crate) fn accept_in_this_thread(&self, listener: BorrowedFd<'_>) {
        self.scoreboard.say_worker_is_ready();
        self.accepting_on.store(listener.as_raw_fd(), Ordering::SeqCst);
        self.accepting_thread.store(own_thread(), Ordering::SeqCst);
    }

    /// Says that the listening socket is about to be closed. In the thread that accepts on it.
    pub(crate) fn forget_accepting_thread(&self) {
        self.accepting_thread.store(0, Ordering::SeqCst);
    }

    /// Ends the listening of a worker: its accepting thread, in its signal handler, puts the
    /// wake-up descriptor in the place of the listening socket.
    ///
    /// An accept(2) that was running ends by the signal; one that was about to run fails with
    /// ENOTSOCK, where a flag would be missed by a thread that has just looked at it. And if the
    /// thread is serving, nobody connects to a queue that it would never look at again.
    /// Another thread passes on the signal that brought it here. Async-signal-safe.
    fn end_shared_listening(&self, signal: libc::c_int) {
        let thread = self.accepting_thread.load(Ordering::SeqCst);
        if thread == own_thread() {
            let listener = self.accepting_on.load(Ordering::SeqCst);
            // SAFETY: both descriptors are open: this thread owns the second one and says so
            // before it closes it.
            unsafe { libc::dup3(self.wake.as_raw_fd(), listener, libc::O_CLOEXEC) };
            self.forget_accepting_thread();
        } else if thread != 0 {
            // SAFETY: tgkill(2) takes three integers.
            unsafe { libc::syscall(libc::SYS_tgkill, own_pid(), thread, signal) };
        }
    }

    /// Stops because the process crashes in this thread: whoever connects from now on is for
    /// another worker. Waits a moment until the thread that accepts has heard of it.
    /// Async-signal-safe.
    pub(crate) fn stop_in_crash(&self) {
        const MAX_LOOKS: usize = 1000;
        self.stop();
        for _ in 0..MAX_LOOKS {
            if self.accepting_thread.load(Ordering::SeqCst) == 0 {
                return;
            }
            thread::yield_now();
        }
    }

    /// Tells the callers whose handlers still run in this process that they will get no result.
    /// Async-signal-safe.
    pub(crate) fn answer_unfinished(&self) {
        self.scoreboard.answer_instead(own_pid(), &self.last_words, End::Now);
    }

    /// Says whether this process has children that serve.
    pub(crate) fn supervise(&self, supervises: bool) {
        self.supervises.store(supervises, Ordering::SeqCst);
        if supervises {
            // A signal may have come before.
            self.call_off_alarm();
        }
        self.give_signals_back();
    }

    /// Says that the acceptor of this process is gone.
    pub(crate) fn serve_no_more(&self) {
        self.serves_no_more.store(true, Ordering::SeqCst);
        self.give_signals_back();
    }

    /// The status with which a supervising process should end at once, its children killed.
    pub(crate) fn ends_at_once(&self) -> Option<i32> {
        match self.ends_at_once.load(Ordering::SeqCst) {
            0 => None,
            status => Some(status),
        }
    }

    pub(crate) fn set_reporter(&self, reporter: Option<Reporter>) {
        let pipe = reporter.as_ref().map_or(-1, |reporter| reporter.as_fd().as_raw_fd());
        self.status_pipe.store(pipe, Ordering::SeqCst);
        *self.reporter.lock().unwrap_or_else(PoisonError::into_inner) = reporter;
    }

    /// Says something to the master, if this is a worker, or to the master before this one.
    pub(crate) fn report(&self, report: &Report) {
        let reporter = self.reporter.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reporter) = &*reporter {
            reporter.report(report);
        }
    }

    /// Asks for a replacement after so many calls.
    pub(crate) fn limit_calls(&self, calls: u64) {
        let calls = i64::try_from(calls).unwrap_or(NO_LIMIT);
        self.calls_left.store(calls, Ordering::Relaxed);
    }

    /// Counts a call, if somebody wants that.
    #[inline]
    pub(crate) fn count_call(&self) {
        if self.calls_left.load(Ordering::Relaxed) != NO_LIMIT
            && self.calls_left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            self.report(&Report::Replace);
        }
    }

    /// The descriptor that becomes readable when the server is told to stop.
    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Makes the descriptor unreadable again after a wake-up that meant nothing.
    pub(crate) fn drain_wake(&self) {
        let _ = self.wake.read();
    }

    /// In a process that was just forked: a wake-up of its own, since an eventfd is shared by a fork, handlers for
    /// the signals of its parent, and a way to speak to it if it listens.
    pub(crate) fn adopt_in_child(self: &Arc<Control>) -> io::Result<()> {
        let wake = OwnedFd::from(new_wake()?);
        // SAFETY: both descriptors are open; the old one is replaced in one step, so that a
        // signal handler never writes into a closed one.
        if unsafe { libc::dup3(wake.as_raw_fd(), self.wake.as_raw_fd(), libc::O_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
        self.supervise(false);
        self.forget_accepting_thread();
        self.is_child.store(true, Ordering::SeqCst);
        self.has_served.store(false, Ordering::SeqCst);
        self.calls_left.store(NO_LIMIT, Ordering::Relaxed);
        self.take_signals_in_child()
    }

    /// Says that this process begins to serve a connection.
    pub(crate) fn serve_here(self: &Arc<Control>) {
        if !self.has_served.load(Ordering::Acquire) {
            self.watch_crashes();
            self.has_served.store(true, Ordering::Release);
        }
    }

    /// Tells the master that a thread of this worker is lost: its handler did not return in time,
    /// and its other connections must not suffer. Async-signal-safe, and may come again.
    pub(crate) fn ask_for_replacement(&self) {
        let pipe = self.status_pipe.load(Ordering::SeqCst);
        // SAFETY: the words are live bytes. The descriptor is -1 or the status pipe, which a
        // worker keeps open as long as it lives and which does not block.
        unsafe { libc::write(pipe, REPLACE.as_ptr().cast(), REPLACE.len()) };
    }
}

/// gettid(2). Async-signal-safe.
fn own_thread() -> i32 {
    // SAFETY: gettid(2) takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stopping = self.is_stopping();
        f.debug_struct("Control").field("stopping", &stopping).finish_non_exhaustive()
    }
}

fn new_wake() -> io::Result<EventFd> {
    let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
    Ok(EventFd::from_value_and_flags(0, flags)?)
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
