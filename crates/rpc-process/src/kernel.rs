//! Speaking with the kernel about processes: the only file that forks.
//!
//! A process with more than one thread is never forked: the child would have the memory of all
//! threads and only one of them, so a lock that another thread held stays locked for ever.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::prctl;
use nix::unistd::getpid;

use crate::child::ExitStatus;
use crate::error::ForkError;

/// The two sides of a fork.
pub(crate) enum Forked {
    Parent(i32),
    Child,
}

/// fork(2). For a process that has no other thread, and a caller that has looked.
pub(crate) fn fork_only_thread() -> io::Result<Forked> {
    // SAFETY: this is the only thread, so the child's memory is consistent and it may run any
    // code, not only async-signal-safe code.
    match unsafe { libc::fork() } {
        0 => Ok(Forked::Child),
        pid if pid > 0 => Ok(Forked::Parent(pid)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Tries what every child will need: a system that lacks or forbids it is better told at the start.
pub(crate) fn check_system() -> Result<(), ForkError> {
    let missing = |call| move |source| ForkError::Missing { call, source };
    pidfd_open(getpid().as_raw()).map_err(missing("pidfd_open(2)"))?;
    // Sets what is set already.
    prctl::get_pdeathsig()
        .and_then(prctl::set_pdeathsig)
        .map_err(io::Error::from)
        .map_err(missing("prctl(2), PR_SET_PDEATHSIG"))
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

/// Makes `descriptors` those that the program which this process is about to execute finds from 3
/// on. Whatever had these numbers is closed. Returns copies that are closed on exec.
pub(crate) fn pass_on(descriptors: &[BorrowedFd<'_>]) -> io::Result<Vec<OwnedFd>> {
    const FIRST: i32 = 3;
    let behind_all = FIRST + descriptors.len() as i32;
    let mut copies = Vec::new();
    for descriptor in descriptors {
        let copy = fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(behind_all))?;
        // SAFETY: the call has just returned this descriptor.
        copies.push(unsafe { OwnedFd::from_raw_fd(copy) });
    }
    for (number, copy) in (FIRST..).zip(&copies) {
        // SAFETY: dup2(2) takes two integers. What it closes belongs to values of a process that
        // will use none of them again: it executes a program or ends.
        if unsafe { libc::dup2(copy.as_raw_fd(), number) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(copies)
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

/// Closes the descriptors from `first` to `last`, which the caller owned and has forgotten.
pub(crate) fn close_range(first: RawFd, last: RawFd) {
    // SAFETY: close_range(2) takes three integers, and these descriptors are nobody else's.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        return;
    }
    // Before Linux 5.9, or where a filter of system calls does not know it.
    for fd in first..=last {
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
}

/// What waitid(2) tells of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Ended(ExitStatus),
    Stopped,
    Continued,
}

/// Whether the child has ended, without reaping it: until [`reap`] its number is its own.
pub(crate) fn look_for_end(pid: i32) -> Option<ExitStatus> {
    match wait_for(pid, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)? {
        Change::Ended(exit) => Some(exit),
        Change::Stopped | Change::Continued => None,
    }
}

/// Whether the child was stopped, or went on, since the last look.
pub(crate) fn look_for_stop(pid: i32) -> Option<Change> {
    wait_for(pid, libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG)
        .filter(|change| !matches!(change, Change::Ended(_)))
}

/// Blocks until the child has ended, and reaps it.
pub(crate) fn reap(pid: i32) {
    wait_for(pid, libc::WEXITED);
}

/// waitid(2) for one child of ours; `None` when there is nothing to tell. Not through nix, whose
/// status type has no room for a death by a real-time signal.
fn wait_for(pid: i32, options: libc::c_int) -> Option<Change> {
    // SAFETY: all-zero is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = pid as libc::id_t;
    loop {
        // SAFETY: `info` is a live siginfo_t.
        if unsafe { libc::waitid(libc::P_PID, id, &mut info, options) } == 0 {
            break;
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Some(Change::Ended(ExitStatus::Unknown));
        }
    }
    // SAFETY: waitid filled the fields that belong to SIGCHLD, or left zeroes.
    let (changed, status) = unsafe { (info.si_pid(), info.si_status()) };
    if changed == 0 {
        return None;
    }
    Some(match info.si_code {
        libc::CLD_EXITED => Change::Ended(ExitStatus::Status(status)),
        libc::CLD_KILLED | libc::CLD_DUMPED => Change::Ended(ExitStatus::Signal(status)),
        libc::CLD_STOPPED => Change::Stopped,
        libc::CLD_CONTINUED => Change::Continued,
        _ => Change::Ended(ExitStatus::Unknown),
    })
}
