//! Speaking with the kernel about processes: the only place that forks.
//!
//! A process with more than one thread is never forked: the child would have the memory of all
//! threads and only one of them, so a lock that another thread held stays locked for ever.
#![allow(unsafe_code)]

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::prctl;
use nix::unistd::Pid;

use crate::death::write_signal;
use crate::error::{ForkError, ServeError};
use crate::refusal::with_causes;
use crate::report::Report;
use crate::scoreboard::own_pid;
use crate::service::panic_message;
use crate::shutdown::{Control, exit_now};

/// The status of a child whose work failed.
const EXIT_FAILED: i32 = 1;

/// The status of a child whose code panicked outside of any handler: the one Rust itself uses.
pub(crate) const EXIT_PANICKED: i32 = 101;

/// What [`Children::fork`](crate::Children::fork) is, on either side.
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
    control: Arc<Control>,
}

impl Child {
    /// Lets this process ask its master for a replacement once it has served so many calls. It
    /// goes on serving until the master retires it.
    pub fn replaced_after(self, calls: u64) -> Child {
        self.control.limit_calls(calls);
        self
    }

    /// Keeps this process to one processor, the `number`th of those that it may use, counted round
    /// and round. A system that does not allow this is logged, and the process goes on.
    pub fn pinned(self, number: usize) -> Child {
        let this = Pid::from_raw(0);
        let pinned = sched_getaffinity(this).and_then(|allowed| {
            let is_allowed = |cpu: &usize| allowed.is_set(*cpu) == Ok(true);
            let allowed: Vec<_> = (0..CpuSet::count()).filter(is_allowed).collect();
            let mut one = CpuSet::new();
            one.set(allowed[number % allowed.len().max(1)])?;
            sched_setaffinity(this, &one)
        });
        if let Err(error) = pinned {
            tracing::warn!(%error, "cannot keep a worker to one processor");
        }
        self
    }

    /// Runs `work` and ends this process: with status 0, with 1 if `work` failed, with 101 if it
    /// panicked. The master is told why.
    pub fn run(self, work: impl FnOnce() -> Result<(), ServeError>) -> ! {
        let (status, reason) = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(())) => self.exit(0),
            Ok(Err(error)) => (EXIT_FAILED, with_causes(&error)),
            Err(panic) => (EXIT_PANICKED, panic_message(&*panic).to_owned()),
        };
        self.control.report(&Report::Failed(reason));
        self.exit(status)
    }

    /// Ends this process, which cannot do what it is for. The master is told why.
    pub(crate) fn fail(self, error: &io::Error) -> ! {
        self.control.report(&Report::Failed(error.to_string()));
        self.exit(EXIT_FAILED)
    }

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
            Exit::Signal(number) => write_signal(f, number),
            Exit::Unknown => f.write_str("ended, status unknown"),
        }
    }
}

/// fork(2). For a process that has no other thread, and a caller that has looked.
pub(crate) fn fork_only_thread(control: &Arc<Control>) -> io::Result<Fork> {
    // SAFETY: this is the only thread, so the child's memory is consistent and it may run any
    // code, not only async-signal-safe code.
    match unsafe { libc::fork() } {
        0 => Ok(Fork::Child(Child { control: Arc::clone(control) })),
        pid if pid > 0 => Ok(Fork::Parent(pid)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Tries what every child will need: a system that lacks or forbids it is better told at the start.
pub(crate) fn check_system() -> Result<(), ForkError> {
    let missing = |call| move |source| ForkError::Missing { call, source };
    pidfd_open(own_pid()).map_err(missing("pidfd_open(2)"))?;
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

/// Lets a TCP socket that listens admit nobody any more: the kernel throws away what opens a
/// connection (SO_ATTACH_FILTER, socket(7)). Handshakes that have begun are completed. The peer
/// tries again after a second, and is refused by then if nobody listens.
///
/// It is about the socket and so reaches all processes that have it.
pub(crate) fn admit_no_more(listener: BorrowedFd<'_>) -> io::Result<()> {
    const FLAGS: u32 = 13;
    const ACK: u32 = 0x10;
    const ALL: u32 = u32::MAX;
    // Classic BPF, on the TCP header: only the first segment of a connection has no ACK (RFC 9293,
    // section 3.4), besides some resets.
    let instruction = |code, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, FLAGS),
        instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, ACK),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, ALL),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel copies the program, and through it the filter, which are both alive.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// What waitid(2) tells of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Ended(Exit),
    Stopped,
    Continued,
}

/// Whether the child has ended, without taking leave of it: until [`reap`] its number is its own.
pub(crate) fn look_for_end(pid: i32) -> Option<Exit> {
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

/// Blocks until the child has ended, and takes leave of it.
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
            return Some(Change::Ended(Exit::Unknown));
        }
    }
    // SAFETY: waitid filled the fields that belong to SIGCHLD, or left zeroes.
    let (changed, status) = unsafe { (info.si_pid(), info.si_status()) };
    if changed == 0 {
        return None;
    }
    Some(match info.si_code {
        libc::CLD_EXITED => Change::Ended(Exit::Status(status)),
        libc::CLD_KILLED | libc::CLD_DUMPED => Change::Ended(Exit::Signal(status)),
        libc::CLD_STOPPED => Change::Stopped,
        libc::CLD_CONTINUED => Change::Continued,
        _ => Change::Ended(Exit::Unknown),
    })
}
