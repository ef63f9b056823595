//! Ending accept(2) in a worker, whose thread may be blocked in it on a socket that other processes
//! share.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicI32, Ordering};

use nix::libc;

use crate::sys::pid::{own_pid, own_thread};

/// The thread that accepts on a shared socket, and that socket.
#[derive(Default)]
pub(crate) struct SharedListening {
    /// The thread id; 0 when no thread accepts.
    thread: AtomicI32,
    socket: AtomicI32,
}

impl SharedListening {
    /// Registers that this thread of a worker accepts on `listener`. Before that is closed,
    /// [`forget`](SharedListening::forget) must be called.
    pub(crate) fn begin(&self, listener: BorrowedFd<'_>) {
        self.socket.store(listener.as_raw_fd(), Ordering::SeqCst);
        self.thread.store(own_thread(), Ordering::SeqCst);
    }

    /// Called by the accepting thread before the listening socket is closed.
    pub(crate) fn forget(&self) {
        self.thread.store(0, Ordering::SeqCst);
    }

    /// Whether no thread accepts.
    pub(crate) fn is_over(&self) -> bool {
        self.thread.load(Ordering::SeqCst) == 0
    }

    /// Ends accepting: the accepting thread, in its signal handler, replaces the listening socket
    /// by `wake`. Any other thread sends `signal` to the accepting thread.
    ///
    /// The signal interrupts an accept(2) that runs. One that is about to run fails with ENOTSOCK,
    /// whereas a thread that has just read a flag would miss its change. If the thread is serving,
    /// this closes the worker's listening socket, so that no peer connects to a queue from which
    /// the thread would never accept again. Async-signal-safe.
    pub(crate) fn end(&self, wake: BorrowedFd<'_>, signal: libc::c_int) {
        let thread = self.thread.load(Ordering::SeqCst);
        if thread == own_thread() {
            let listener = self.socket.load(Ordering::SeqCst);
            // SAFETY: both descriptors are open: this thread owns the second one, and calls
            // `forget` before it closes it.
            unsafe { libc::dup3(wake.as_raw_fd(), listener, libc::O_CLOEXEC) };
            self.forget();
        } else if thread != 0 {
            // SAFETY: tgkill(2) takes three integers.
            unsafe { libc::syscall(libc::SYS_tgkill, own_pid(), thread, signal) };
        }
    }
}
