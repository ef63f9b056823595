//! The end of listening in a worker, whose thread may be blocked in accept(2) on a socket that it
//! shares with other processes.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::libc;

use crate::sys::pid::{own_pid, own_thread};

/// The thread that accepts on a shared socket, and that socket.
pub(crate) struct SharedListening {
    /// 0 when no thread does.
    thread: AtomicI32,
    socket: AtomicI32,
}

impl SharedListening {
    pub(crate) const fn none() -> SharedListening {
        SharedListening { thread: AtomicI32::new(0), socket: AtomicI32::new(-1) }
    }

    /// Says that this thread, of a worker, accepts on `listener`. Before that is closed,
    /// [`forget`](SharedListening::forget) has to be called.
    pub(crate) fn begin(&self, listener: BorrowedFd<'_>) {
        self.socket.store(listener.as_raw_fd(), Ordering::SeqCst);
        self.thread.store(own_thread(), Ordering::SeqCst);
    }

    /// Says that the listening socket is about to be closed. In the thread that accepts on it.
    pub(crate) fn forget(&self) {
        self.thread.store(0, Ordering::SeqCst);
    }

    /// Whether nobody accepts, or no longer.
    pub(crate) fn is_over(&self) -> bool {
        self.thread.load(Ordering::SeqCst) == 0
    }

    /// Ends it: the accepting thread, in its signal handler, puts `wake` in the place of the
    /// listening socket.
    ///
    /// An accept(2) that was running ends by the signal; one that was about to run fails with
    /// ENOTSOCK, where a flag would be missed by a thread that has just looked at it. And if the
    /// thread is serving, nobody connects to a queue that it would never look at again.
    /// Another thread passes on the signal that brought it here. Async-signal-safe.
    pub(crate) fn end(&self, wake: BorrowedFd<'_>, signal: libc::c_int) {
        let thread = self.thread.load(Ordering::SeqCst);
        if thread == own_thread() {
            let listener = self.socket.load(Ordering::SeqCst);
            // SAFETY: both descriptors are open: this thread owns the second one and says so
            // before it closes it.
            unsafe { libc::dup3(wake.as_raw_fd(), listener, libc::O_CLOEXEC) };
            self.forget();
        } else if thread != 0 {
            // SAFETY: tgkill(2) takes three integers.
            unsafe { libc::syscall(libc::SYS_tgkill, own_pid(), thread, signal) };
        }
    }
}
