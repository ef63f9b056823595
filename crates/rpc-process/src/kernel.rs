//! Speaking with the kernel about processes: the only file that forks.
//!
//! A process with more than one thread is never forked: the child would have the memory of all
//! threads and only one of them, so a lock that another thread held stays locked forever.
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

/// sd_listen_fds(3), SD_LISTEN_FDS_START, and the descriptor behind the only one.
const SOCKET: RawFd = 3;
pub(crate) const STATUS_PIPE: RawFd = SOCKET + 1;

/// The proof that this process had one thread a moment ago. Only that thread could have started
/// another since, so if it started none after it got the proof, it still is the only one.
pub(crate) struct OneThread(());

/// fork(2), with all signals blocked, so that none is lost between the two sides. In the child they
/// stay blocked; the mask of before is returned.
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

pub(crate) fn refuse_threads() -> Result<OneThread, ForkError> {
    match count_threads().map_err(ForkError::CountThreads)? {
        1 => Ok(OneThread(())),
        threads => Err(ForkError::Threads { threads }),
    }
}

/// How many threads this process has. One stat(2): the link count of /proc/self/task is the number
/// of its subdirectories, one a thread, and two.
fn count_threads() -> io::Result<u64> {
    Ok(fs::metadata("/proc/self/task")?.nlink().saturating_sub(2))
}

/// Executes `program`, which finds `socket` as descriptor 3 and `status_pipe` as descriptor 4. If
/// that fails, says so through the pipe and ends this process.
///
/// Whatever had these numbers is closed. Nobody misses it, since this never returns.
pub(crate) fn execute(
    mut program: Command,
    socket: BorrowedFd<'_>,
    status_pipe: BorrowedFd<'_>,
) -> ! {
    // Copies that are in nobody's way first.
    let copy = |descriptor| fcntl(descriptor, FcntlArg::F_DUPFD_CLOEXEC(STATUS_PIPE + 1));
    if let (Ok(socket), Ok(status_pipe)) = (copy(socket), copy(status_pipe)) {
        // SAFETY: dup2(2) takes two integers, and no value is used again whose descriptor it closes.
        let passed =
            unsafe { libc::dup2(socket, SOCKET) >= 0 && libc::dup2(status_pipe, STATUS_PIPE) >= 0 };
        let error = if passed { program.exec() } else { io::Error::last_os_error() };
        // SAFETY: nobody closes this copy.
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
/// The caller owns all of them, and forgets them: nobody else may use or close them.
pub(crate) unsafe fn close_range(first: RawFd, last: RawFd) {
    // SAFETY: close_range(2) takes three integers, and these descriptors are the caller's.
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
pub(crate) fn look_for_end(pid: i32) -> Option<Change> {
    wait_for(pid, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT)
}

/// Whether the child was stopped, or went on, since the last look.
pub(crate) fn look_for_stop(pid: i32) -> Option<Change> {
    wait_for(pid, libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG)
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
