//! The fork of a child: nothing is lost between the two sides, and nothing is shared that should not
//! be.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use nix::libc;
use nix::sys::epoll::{EpollEvent, EpollFlags};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::unistd::{Pid, getppid, setpgid};

use crate::children::{Children, DEATH, STATUS};
use crate::error::ForkError;
use crate::ladder::Ladder;
use crate::member::Member;
use crate::process::{Fork, fork_only_thread, pidfd_open, reap, refuse_threads};
use crate::report::{Reporter, StatusPipe};
use crate::scoreboard::own_pid;
use crate::signal_queue::SignalQueue;
use crate::signals::heard_by_child;

impl Children {
    /// Forks this process. Returns twice: [`Fork::Parent`] here, [`Fork::Child`] in the child.
    ///
    /// The child is the first of a process group of its own and has handlers for three signals.
    /// SIGTERM and SIGINT let it finish its requests, SIGHUP lets it accept no more. When its
    /// parent dies the kernel sends it SIGTERM (`PR_SET_PDEATHSIG`, prctl(2)), unless a handler has
    /// changed the user of its process. A signal that arrives between the fork and the child's
    /// first instruction waits until the child can act on it.
    ///
    /// # Errors
    ///
    /// [`ForkError`]; the process goes on as if nothing had been tried. When the system has
    /// refused a fork, the next ones fail at once, for 10 ms at first and up to 1 s, or until a
    /// child has ended.
    pub fn fork(&mut self) -> Result<Fork, ForkError> {
        refuse_threads()?;
        self.pause.check()?;
        let status = self.patience.map(|_| StatusPipe::new());
        let status = status.transpose().map_err(ForkError::Descriptor)?;
        let (status, reporter) = status.map_or((None, None), |(a, b)| (Some(a), Some(b)));
        // The pidfd needs a number. Holding one now means that only the parent can fail for it.
        let reserve = self.control.wake().try_clone_to_owned().map_err(ForkError::Descriptor)?;
        let parent = own_pid();
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
        let mask = mask.map_err(|errno| ForkError::Fork(errno.into()))?;
        let control = Arc::clone(&self.control);
        let entry = control.scoreboard.expect_worker();
        let forked = fork_only_thread(&self.control);
        drop(reserve);
        match forked {
            Ok(Fork::Child(child)) => {
                control.scoreboard.become_worker(entry);
                drop(status);
                if let Err(error) = self.become_child(parent, reporter) {
                    child.fail(&error);
                }
                // What the host program had blocked, and not what its supervision blocks.
                let mask = self.signals.as_ref().map_or(mask, SignalQueue::mask_before);
                self.signals = None;
                let _ = heard_by_child(mask).thread_set_mask();
                Ok(Fork::Child(child))
            }
            Ok(Fork::Parent(pid)) => {
                let _ = mask.thread_set_mask();
                self.pause.end();
                entry.inspect(|&entry| control.scoreboard.workers().name(entry, pid));
                self.watch(pid, status).map(|()| Fork::Parent(pid))
            }
            Err(error) => {
                let _ = mask.thread_set_mask();
                self.pause.begin(&error);
                entry.inspect(|&entry| control.scoreboard.workers().cancel(entry));
                Err(ForkError::Fork(error))
            }
        }
    }

    /// With all signals blocked. The queue of signals comes last: without it they are not.
    fn become_child(&mut self, parent: i32, reporter: Option<Reporter>) -> io::Result<()> {
        self.members.close_in_child();
        self.happenings = None;
        // So that what a handler starts can be killed with it.
        let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
        self.control.adopt_in_child(reporter)?;
        prctl::set_pdeathsig(Signal::SIGTERM)?;
        if getppid().as_raw() != parent {
            return Err(io::Error::other("the parent died before it could be watched"));
        }
        Ok(())
    }

    /// Looks after the new child `pid` from now on.
    pub(crate) fn watch(&mut self, pid: i32, status: Option<StatusPipe>) -> Result<(), ForkError> {
        let watched = pidfd_open(pid).and_then(|pidfd| {
            if let Some(happenings) = &self.happenings {
                // Told once and not again and again: somebody who traces the child (ptrace(2)) can
                // keep its death from us. When it lets go, the kernel tells us again.
                let once = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
                happenings.add(&pidfd, EpollEvent::new(once, DEATH | pid as u64))?;
                if let Some(status) = &status {
                    let event = EpollEvent::new(EpollFlags::EPOLLIN, STATUS | pid as u64);
                    happenings.add(status, event)?;
                }
            }
            Ok(pidfd)
        });
        match watched {
            Ok(pidfd) => {
                let ladder = self.patience.map(|patience| {
                    let now = self.clock.now();
                    Box::new(Ladder::boot(now, patience.boot))
                });
                let status = status.map(Box::new);
                self.members.push(Member {
                    pid,
                    born: Instant::now(),
                    pidfd,
                    status,
                    ladder,
                    is_stopped: false,
                });
                Ok(())
            }
            Err(error) => Err(self.kill_unwatched(pid, error)),
        }
    }

    #[cold]
    fn kill_unwatched(&self, pid: i32, error: io::Error) -> ForkError {
        // ESRCH: it has ended and was waited for, since SIGCHLD is ignored.
        if error.raw_os_error() != Some(libc::ESRCH) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            reap(pid);
        }
        self.control.scoreboard.release_all_of(pid);
        tracing::error!(pid, %error, "cannot watch the new child, which was killed");
        ForkError::Watch(error)
    }
}
