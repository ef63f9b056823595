//! System calls about processes. This is the only file that forks.
//!
//! A process with more than one thread is never forked: the child would have the memory of all
//! threads but only one thread, so a lock that another thread held would never be unlocked.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{ForkResult, fork, getpid, write};
use rpc_core::internal::{EXIT_NOT_EXECUTED, exit_now};

use crate::child::{ExitStatus, Report};
use crate::error::ForkError;

/// SD_LISTEN_FDS_START of sd_listen_fds(3), and the next descriptor.
const SOCKET: RawFd = 3;
pub(crate) const STATUS_PIPE: RawFd = SOCKET + 1;

/// The proof that this process had one thread when it was made. Only that thread can start others,
/// so if it has started none since, it is still the only one.
pub(crate) struct OneThread(());

/// fork(2), with all signals blocked, so that none is lost between the two processes. They stay
/// blocked in the child. Returns the mask from before.
pub(crate) fn fork_only_thread(_proof: OneThread) -> nix::Result<(ForkResult, SigSet)> {
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    // SAFETY: this is the only thread, so the child's memory is consistent and it may run any
    // code, not only async-signal-safe code.
    let forked = unsafe { fork() };
    if !matches!(forked, Ok(ForkResult::Child)) {
        let _ = mask.thread_set_mask();
    }
    Ok((forked?, mask))
}

/// Tries the system calls that every child will need, so that a system which lacks or forbids one
/// is reported at the start.
pub(crate) fn check_system() -> Result<(), ForkError> {
    let missing = |call| move |source| ForkError::Missing { call, source };
    pidfd_open(getpid().as_raw()).map_err(missing("pidfd_open(2)"))?;
    // Sets the present value again.
    prctl::get_pdeathsig()
        .and_then(prctl::set_pdeathsig)
        .map_err(io::Error::from)
        .map_err(missing("prctl(2), PR_SET_PDEATHSIG"))
}

pub(crate) fn refuse_threads() -> Result<OneThread, ForkError> {
    match count_threads().map_err(ForkError::CountThreads)? {
        1 => Ok(OneThread(())),
        threads => Err(ForkError::Threads { threads }),
    }
}

/// The number of threads of this process, with one stat(2): the link count of /proc/self/task is
/// two plus its number of subdirectories, one per thread.
fn count_threads() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/task")?.nlink().saturating_sub(2))
}

/// Executes `program`, with `socket` as descriptor 3 and `status_pipe` as descriptor 4. If that
/// fails, reports why through the pipe and ends this process.
///
/// Descriptors that had these numbers are closed. Nothing can use them afterwards, since this never
/// returns.
pub(crate) fn execute(
    mut program: Command,
    socket: BorrowedFd<'_>,
    status_pipe: BorrowedFd<'_>,
) -> ! {
    // First copies with higher numbers, which neither dup2(2) overwrites.
    let copy = |descriptor| fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(STATUS_PIPE + 1));
    if let (Ok(socket), Ok(status_pipe)) = (copy(socket), copy(status_pipe)) {
        // SAFETY: dup2(2) takes two integers, and no value is used again whose descriptor it
        // closes.
        let passed =
            unsafe { libc::dup2(socket, SOCKET) >= 0 && libc::dup2(status_pipe, STATUS_PIPE) >= 0 };
        let error = if passed { program.exec() } else { io::Error::last_os_error() };
        // SAFETY: this copy is never closed.
        let status_pipe = unsafe { BorrowedFd::borrow_raw(status_pipe) };
        let _ = write(status_pipe, &Report::failed(&error.to_string()));
    }
    exit_now(EXIT_NOT_EXECUTED)
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

/// Closes the descriptors from `first` to `last`.
///
/// # Safety
///
/// The caller must own all of them and forget their owners: nothing may use or close them later.
pub(crate) unsafe fn close_range(first: RawFd, last: RawFd) {
    // SAFETY: close_range(2) takes three integers, and these descriptors are the caller's.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        return;
    }
    // The call is missing before Linux 5.9, and where a system call filter does not know it.
    for fd in first..=last {
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
}

/// A change of a child's state, from waitid(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Ended(ExitStatus),
    Stopped,
    Continued,
}

/// Whether the child has ended. Does not reap it: until [`reap`] its process id is not reused.
pub(crate) fn look_for_end(pid: i32) -> Option<Change> {
    wait_for(pid, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
}

/// Whether the child was stopped or continued since the last call.
pub(crate) fn look_for_stop(pid: i32) -> Option<Change> {
    wait_for(pid, libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG)
}

/// Blocks until the child has ended, and reaps it.
pub(crate) fn reap(pid: i32) {
    wait_for(pid, libc::WEXITED);
}

/// waitid(2) for one child; `None` if its state has not changed. Not through nix, whose status type
/// cannot represent a death by a real-time signal.
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
