//! Speaking with the kernel about processes: the only place that forks.
//!
//! A process with more than one thread is never forked: the child would have the memory of all
//! threads and only one of them, so a lock that another thread held stays locked for ever.
#![allow(unsafe_code)]

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

use nix::libc;
use nix::sys::signal::Signal;

use crate::error::ForkError;
use crate::shutdown::exit_now;

/// The status of a child whose code panicked outside of any handler: the one Rust itself uses.
const EXIT_PANICKED: i32 = 101;

/// What [`Children::fork`] is, on either side.
#[must_use = "both sides have work to do"]
pub enum Fork {
    /// This is the parent; the child has this process id.
    Parent(i32),
    /// This is the child.
    Child(Child),
}

/// The child's side of a fork. However it is dropped, the process ends: control never returns to
/// the frames that it shares with its parent.
#[must_use = "dropping it ends the process"]
pub struct Child {
    _private: (),
}

impl Child {
    /// Ends this process with `status`. Destructors of the parent's values do not run.
    pub fn exit(self, status: i32) -> ! {
        let _ = io::stdout().flush();
        exit_now(status)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        exit_now(EXIT_PANICKED);
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// It exited with this status.
    Status(i32),
    /// This signal ended it.
    Signal(i32),
    /// Somebody else has waited for it, or SIGCHLD is ignored.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Exit::Status(status) => write!(f, "exited with status {status}"),
            Exit::Signal(number) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by real-time signal {number}"),
            },
            Exit::Unknown => f.write_str("ended, status unknown"),
        }
    }
}

/// fork(2). For a process that has no other thread, and a caller that has looked.
pub(crate) fn fork_only_thread() -> io::Result<Fork> {
    // SAFETY: this is the only thread, so the child's memory is consistent and it may run any
    // code, not only async-signal-safe code.
    match unsafe { libc::fork() } {
        0 => Ok(Fork::Child(Child { _private: () })),
        pid if pid > 0 => Ok(Fork::Parent(pid)),
        _ => Err(io::Error::last_os_error()),
    }
}

pub(crate) fn refuse_threads() -> Result<(), ForkError> {
    match count_threads().map_err(ForkError::CountThreads)? {
        1 => Ok(()),
        threads => Err(ForkError::Threads { threads }),
    }
}

/// How many threads this process has. One stat(2): the link count of /proc/self/task is the number
/// of its subdirectories, one a thread, and two.
fn count_threads() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/task")?.nlink().saturating_sub(2))
}

pub(crate) fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open(2) takes two integers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just returned this descriptor; pidfds are close-on-exec by themselves.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// waitid(2) for one child of ours; `None` when it has not ended. Not through nix, whose status
/// type has no room for a death by a real-time signal.
pub(crate) fn wait_for_end(pid: i32, options: libc::c_int) -> Option<Exit> {
    // SAFETY: all-zero is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = pid as libc::id_t;
    loop {
        // SAFETY: `info` is a live siginfo_t.
        if unsafe { libc::waitid(libc::P_PID, id, &mut info, libc::WEXITED | options) } == 0 {
            break;
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Some(Exit::Unknown);
        }
    }
    // SAFETY: waitid filled the fields that belong to SIGCHLD, or left zeroes.
    let (ended, status) = unsafe { (info.si_pid(), info.si_status()) };
    if ended == 0 {
        return None;
    }
    Some(match info.si_code {
        libc::CLD_EXITED => Exit::Status(status),
        libc::CLD_KILLED | libc::CLD_DUMPED => Exit::Signal(status),
        _ => Exit::Unknown,
    })
}
