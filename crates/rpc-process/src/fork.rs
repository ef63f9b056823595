//! Forking a child, so that no signal is lost between the two processes, and nothing is shared that
//! should not be.

use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{ForkResult, Pid, getpid, getppid, setpgid};
use rpc_core::internal::{
    EXIT_FAILED, EXIT_PANICKED, ServingChild, exit_now, heard_by_child, panic_message, with_causes,
};
use rpc_core::{ExitReason, ServeError};

use crate::backoff::Backoff;
use crate::child::{ChildHandle, Report, StatusPipe};
use crate::children::Children;
use crate::error::ForkError;
use crate::kernel::{fork_only_thread, pidfd_open, reap, refuse_threads};

/// What [`Children::fork`] returns, once in each process.
#[derive(Debug)]
#[must_use = "both processes have work to do"]
pub enum Fork {
    /// This is the parent; the child has this process id.
    Parent(i32),
    /// This is the child.
    Child(InChild),
}

/// The child's side of a fork. Dropping it in any way ends the process: control never returns to
/// the stack frames that the child shares with its parent.
#[derive(Debug)]
#[must_use = "dropping it ends the process"]
pub struct InChild {
    server: ServingChild,
}

impl InChild {
    /// Makes this process ask its parent for a replacement after it has served this number of
    /// calls. It serves on until the parent retires it.
    pub fn replaced_after(&self, calls: u64) {
        self.server.limit_calls(calls);
    }

    /// Runs `work` and ends this process: with status 0, with 1 if `work` failed, with 101 if it
    /// panicked. A failure is reported to the parent with its reason.
    pub fn run(self, work: impl FnOnce() -> Result<(), ServeError>) -> ! {
        let (status, reason) = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(())) => self.exit(0),
            Ok(Err(error)) => (EXIT_FAILED, with_causes(&error)),
            Err(panic) => (EXIT_PANICKED, panic_message(&*panic).to_owned()),
        };
        self.server.report(&Report::failed(&reason));
        self.exit(status)
    }

    /// Ends this process with `status`, after flushing standard output. The destructors of values
    /// that came from the parent do not run.
    pub fn exit(self, status: i32) -> ! {
        let _ = io::stdout().flush();
        exit_now(status)
    }
}

impl Drop for InChild {
    fn drop(&mut self) {
        exit_now(EXIT_PANICKED);
    }
}

impl Children {
    /// All that a child does first, in this order, with all signals blocked.
    fn become_child(&mut self, parent: i32, server: &ServingChild) -> io::Result<()> {
        // The descriptors with which the parent watches its other children.
        self.table.close_in_child();
        self.epoll = None;
        // So that programs which a handler starts can be killed with the child.
        let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
        // Its own wake-up, signal handlers, and no timer.
        server.begin()?;
        // The kernel signals the parent's death from now on; an earlier death is checked for.
        prctl::set_pdeathsig(Signal::SIGTERM)?;
        if getppid().as_raw() != parent {
            return Err(io::Error::other("the parent died before it could be watched"));
        }
        Ok(())
    }

    /// Forks this process; does not wait for the child. Returns twice: [`Fork::Parent`] here,
    /// [`Fork::Child`] in the child, which has a copy of this process's memory.
    ///
    /// The child leads its own process group and handles three signals: after SIGTERM and SIGINT it
    /// finishes its requests and ends, after SIGHUP it accepts no more connections. When the parent
    /// dies, the kernel sends SIGTERM to the child (`PR_SET_PDEATHSIG`, prctl(2)), unless a handler
    /// has changed the user of the child's process. A signal that arrives between the fork and the
    /// child's first instruction stays pending until the child can act on it.
    ///
    /// # Errors
    ///
    /// [`ForkError`]; no child is left then, and this process can continue. After the system has
    /// refused a fork, further forks fail at once, for 10 ms at first and up to 1 s, or until a
    /// child has ended.
    pub fn fork(&mut self) -> Result<Fork, ForkError> {
        self.fork_as(None)
    }

    /// Like [`fork`](Children::fork), but forks a worker, which reports when it is ready. The
    /// server's stats show it with this generation, counted from 1.
    ///
    /// # Errors
    ///
    /// Like [`fork`](Children::fork).
    pub fn fork_worker(&mut self, generation: u32) -> Result<Fork, ForkError> {
        self.fork_as(Some(generation))
    }

    fn fork_as(&mut self, generation: Option<u32>) -> Result<Fork, ForkError> {
        let one_thread = refuse_threads()?;
        self.refused_forks.check()?;
        let pipe = generation.map(|_| StatusPipe::new());
        let (status, reporter) = pipe.transpose().map_err(ForkError::Descriptor)?.unzip();
        // Reserves a descriptor number for the pidfd, so that a lack of descriptors fails here and
        // not when the child already runs.
        let wake = self.supervision.wake();
        let reserve = wake.try_clone_to_owned().map_err(ForkError::Descriptor)?;
        let parent = getpid().as_raw();
        let entry = self.supervision.before_fork(generation);
        let forked = fork_only_thread(one_thread);
        drop(reserve);
        match forked {
            Ok((ForkResult::Child, mask)) => {
                drop(status);
                let child = InChild { server: entry.in_child(reporter) };
                if let Err(error) = self.become_child(parent, &child.server) {
                    child.server.report(&Report::failed(&error.to_string()));
                    child.exit(EXIT_FAILED);
                }
                let mask = self.mask_before(mask);
                self.signals = None;
                let _ = heard_by_child(mask).thread_set_mask();
                Ok(Fork::Child(child))
            }
            Ok((ForkResult::Parent { child }, _)) => {
                let pid = child.as_raw();
                self.refused_forks.forget();
                entry.in_parent(pid);
                self.add(pid, status).map(|()| Fork::Parent(pid))
            }
            Err(errno) => {
                self.refused_forks.add(errno);
                entry.cancel();
                Err(ForkError::Fork(errno.into()))
            }
        }
    }

    /// The signal mask of the host program: `now` without the signals that supervision blocks.
    pub(crate) fn mask_before(&self, now: SigSet) -> SigSet {
        self.signals.as_ref().map_or(now, |signals| signals.mask_before)
    }

    /// Watches the new child `pid` from now on.
    pub(crate) fn add(&mut self, pid: i32, status: Option<StatusPipe>) -> Result<(), ForkError> {
        let watched = pidfd_open(pid).and_then(|pidfd| {
            let (now, boot) = (self.clock.now(), self.timeouts.boot);
            let child = ChildHandle::new(pid, pidfd, status, now, boot);
            self.watch(&child)?;
            self.table.push(child);
            Ok(())
        });
        watched.map_err(|error| self.kill_unwatched(pid, error))
    }

    #[cold]
    fn kill_unwatched(&self, pid: i32, error: io::Error) -> ForkError {
        // ESRCH: it has ended and was reaped by the kernel, since SIGCHLD is ignored.
        if error.raw_os_error() != Some(libc::ESRCH) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            reap(pid);
        }
        self.supervision.child_gone(pid, ExitReason::Killed);
        tracing::error!(pid, %error, "cannot watch the new child, which was killed");
        ForkError::Watch(error)
    }
}

/// The pause after a fork that the system refused: 10 ms, doubling to 1 s. Trying to fork is
/// expensive, above all when memory is short; during the pause forks fail at once.
pub(crate) struct RefusedForks {
    backoff: Backoff,
    /// The end of the pause, and the error of the refused fork.
    last: Option<(Instant, Errno)>,
}

impl RefusedForks {
    pub(crate) const fn new() -> RefusedForks {
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        RefusedForks { backoff, last: None }
    }

    /// Fails with the error of the last attempt during the pause.
    fn check(&self) -> Result<(), ForkError> {
        match self.last {
            Some((until, errno)) if Instant::now() < until => Err(ForkError::Fork(errno.into())),
            _ => Ok(()),
        }
    }

    fn add(&mut self, errno: Errno) {
        self.backoff.grow();
        self.last = Some((Instant::now() + self.backoff.delay(), errno));
    }

    /// A fork has succeeded, or a child has ended, so there may be room again.
    pub(crate) fn forget(&mut self) {
        if self.last.take().is_some() {
            self.backoff.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_repeated_until_there_may_be_room() {
        let mut refused = RefusedForks::new();
        refused.check().unwrap();
        refused.add(Errno::EAGAIN);
        let ForkError::Fork(error) = refused.check().unwrap_err() else {
            panic!("another error");
        };
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
        refused.forget();
        refused.check().unwrap();
    }
}
