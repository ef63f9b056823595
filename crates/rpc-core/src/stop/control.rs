//! What a server, its connections and the signal handlers share within one process: whether to
//! stop, and the parts that a stop needs.
//!
//! A stop sets a flag, walks the process's own slots, and wakes the accept loop. All three are
//! async-signal-safe, so a signal handler does the same as [`Shutdown::stop`], and nothing polls.
#![allow(unsafe_code)]

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::libc;
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::scoreboard::slot::EndOfStream;
use crate::scoreboard::table::Scoreboard;
use crate::stop::prepared_errors::PreparedErrors;
use crate::stop::process_role::{ProcessRole, TimeLimits};
use crate::stop::shared_listening::SharedListening;
use crate::stop::status_pipe::StatusReports;
use crate::sys::buffers::{SpareBuffers, share_on_one_page};
use crate::sys::flag::Flag;

/// Stops one server from any thread.
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

    /// Begins to stop the server. Does not block.
    ///
    /// The server accepts no more connections, ends idle ones, and answers the requests that it has
    /// received. `serve` returns when that is done. A second call has no effect.
    pub fn stop(&self) {
        self.control.stop();
    }

    /// Whether the server has begun to stop.
    pub fn is_stopping(&self) -> bool {
        self.control.is_stopping()
    }
}

pub(crate) struct Control {
    stopping: Flag,
    /// Set in a worker that accepts no more and exits when its last connection has ended.
    retiring: Flag,
    grace_ms: AtomicU64,
    wake: EventFd,
    pub(crate) scoreboard: Scoreboard,
    pub(crate) role: ProcessRole,
    pub(crate) listening: SharedListening,
    pub(crate) limits: TimeLimits,
    pub(crate) reports: StatusReports,
    pub(crate) errors: PreparedErrors,
    pub(crate) spare_buffers: SpareBuffers,
}

impl Control {
    pub(crate) fn new(grace: Duration) -> io::Result<Arc<Control>> {
        let control = Control {
            stopping: Flag::default(),
            retiring: Flag::default(),
            grace_ms: AtomicU64::new(0),
            wake: new_wake()?,
            scoreboard: Scoreboard::new()?,
            role: ProcessRole::default(),
            listening: SharedListening::default(),
            limits: TimeLimits::default(),
            reports: StatusReports::none(),
            errors: PreparedErrors::new()?,
            spare_buffers: SpareBuffers::default(),
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
        self.stopping.is_set()
    }

    pub(crate) fn is_retiring(&self) -> bool {
        self.retiring.is_set()
    }

    /// Whether this process stops or retires.
    pub(crate) fn accepts_no_more(&self) -> bool {
        self.is_stopping() || self.is_retiring()
    }

    /// Begins to stop this process. Async-signal-safe. The flag is set before the walk, and a
    /// connection publishes its slot before it reads the flag, so no connection is missed.
    pub(crate) fn stop(&self) {
        self.stopping.set();
        self.scoreboard.stop_reading();
        self.wake_up();
        self.listening.end(self.wake(), libc::SIGTERM);
    }

    /// Ends accepting in this worker; its connections continue until they end by themselves.
    /// Async-signal-safe.
    pub(crate) fn retire(&self) {
        self.retiring.set();
        self.wake_up();
        self.listening.end(self.wake(), libc::SIGHUP);
    }

    /// Answers the callers whose handlers still run in this process with -32002: they will get no
    /// result. Async-signal-safe.
    pub(crate) fn answer_unfinished(&self) {
        self.scoreboard.answer_running(&self.errors.unfinished, EndOfStream::Now);
    }

    /// The descriptor that becomes readable when the server stops.
    pub(crate) fn wake(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Makes the descriptor unreadable again.
    pub(crate) fn clear_wake(&self) {
        let _ = self.wake.read();
    }

    /// Called in a new child, which shares its parent's eventfd after the fork and needs its own.
    pub(crate) fn replace_wake(&self) -> io::Result<()> {
        let wake = OwnedFd::from(new_wake()?);
        // SAFETY: both descriptors are open. The old one is replaced in one step, so that a signal
        // handler never writes to a closed one.
        if unsafe { libc::dup3(wake.as_raw_fd(), self.wake.as_raw_fd(), libc::O_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Async-signal-safe.
    fn wake_up(&self) {
        let one = 1_u64.to_ne_bytes();
        // SAFETY: `one` is eight live bytes; the descriptor is open as long as `self`.
        unsafe { libc::write(self.wake.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }
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
