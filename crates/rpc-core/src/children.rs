//! The children of a server: watched through pidfds (pidfd_open(2), Linux 5.3), reaped one by one.
//!
//! SIGCHLD is not used and nobody calls `waitpid(-1)`, so children that the host program started
//! itself are never touched.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::unistd::Pid;

use crate::acceptor::{Acceptor, Beside};
use crate::connection::Connection;
use crate::error::{ForkError, ServeError};
use crate::process::{Exit, Fork, fork_only_thread, pidfd_open, refuse_threads, wait_for_end};
use crate::scoreboard::own_pid;
use crate::shutdown::{Control, EXIT_GRACE_EXPIRED, EXIT_INTERRUPTED, exit_now};
use crate::socket::poll_timeout;

/// How long after the grace a parent waits before it kills, so that children can use all of it.
const KILL_DELAY: Duration = Duration::from_secs(1);

/// A child that has ended and was reaped.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Death {
    /// Its process id, which may belong to somebody else by now.
    pub pid: i32,
    /// How it ended.
    pub exit: Exit,
    /// How long it lived.
    pub age: Duration,
}

/// The children of one server. The owner never serves a connection itself.
pub struct Children {
    control: Arc<Control>,
    /// Tells which of `members` have ended. `None` on the child's side of a fork.
    deaths: Option<Epoll>,
    /// In no order. A new member is written at the end: every page that a parent writes after a
    /// fork costs a copy for each child that shares it, so a map would cost many.
    members: Vec<Member>,
}

struct Member {
    pid: i32,
    born: Instant,
    pidfd: OwnedFd,
}

impl Children {
    /// No children yet; they will serve what `acceptor` accepts and stop when it is told to.
    ///
    /// # Errors
    ///
    /// [`ServeError::Fork`] when this process has other threads, [`ServeError::Watch`] when there
    /// is no descriptor for watching children.
    pub fn new(acceptor: &Acceptor) -> Result<Children, ServeError> {
        refuse_threads()?;
        // Every child will need one; a system without them is better told at the start.
        drop(pidfd_open(own_pid()).map_err(ServeError::Watch)?);
        let deaths = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|errno| ServeError::Watch(errno.into()))?;
        let control = acceptor.control();
        control.supervise(true);
        Ok(Children { control, deaths: Some(deaths), members: Vec::new() })
    }

    /// How many children there are that were not reaped yet.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Forks this process. Returns twice: [`Fork::Parent`] here, [`Fork::Child`] in the child.
    ///
    /// The child has default stop signals: SIGTERM and SIGINT let it finish its requests, also
    /// when its parent dies (`PR_SET_PDEATHSIG`, prctl(2)). A signal that arrives between the fork
    /// and the child's first instruction waits until the child can act on it.
    ///
    /// # Errors
    ///
    /// [`ForkError`]; the process goes on as if nothing had been tried.
    pub fn fork(&mut self) -> Result<Fork, ForkError> {
        refuse_threads()?;
        // The pidfd needs a number. Holding one now means that only the parent can fail for it.
        let reserve = self.control.wake().try_clone_to_owned().map_err(ForkError::Descriptor)?;
        let _ = io::stdout().flush();
        let parent = own_pid();
        let mask = SigSet::all()
            .thread_swap_mask(SigmaskHow::SIG_SETMASK)
            .map_err(|errno| ForkError::Fork(errno.into()))?;
        let forked = fork_only_thread();
        drop(reserve);
        let fork = match forked {
            Err(error) => Err(ForkError::Fork(error)),
            Ok(Fork::Parent(pid)) => self.watch(pid).map(|()| Fork::Parent(pid)),
            Ok(Fork::Child(child)) => {
                self.members.clear();
                self.deaths = None;
                if self.prepare_child(parent).is_err() {
                    drop(child);
                    unreachable!("dropping `child` ends the process");
                }
                Ok(Fork::Child(child))
            }
        };
        let _ = mask.thread_set_mask();
        fork
    }

    fn prepare_child(&self, parent: i32) -> io::Result<()> {
        self.control.adopt_in_child()?;
        prctl::set_pdeathsig(Signal::SIGTERM)?;
        if nix::unistd::getppid().as_raw() != parent {
            return Err(io::Error::other("the parent died before it could be watched"));
        }
        Ok(())
    }

    fn watch(&mut self, pid: i32) -> Result<(), ForkError> {
        let watched = pidfd_open(pid).and_then(|pidfd| {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, pid as u64);
            if let Some(deaths) = &self.deaths {
                deaths.add(&pidfd, event)?;
            }
            Ok(pidfd)
        });
        match watched {
            Ok(pidfd) => {
                self.members.push(Member { pid, born: Instant::now(), pidfd });
                Ok(())
            }
            Err(error) => {
                // ESRCH: it has ended and was waited for, since SIGCHLD is ignored.
                if error.raw_os_error() != Some(libc::ESRCH) {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                    wait_for_end(pid, 0);
                }
                self.control.scoreboard.release_all_of(pid);
                tracing::error!(pid, %error, "cannot watch the new child, which was killed");
                Err(ForkError::Watch(error))
            }
        }
    }

    /// Takes leave of every child that has ended, without waiting. Nothing else waits for them:
    /// no zombie stays, however many end at once.
    pub fn reap(&mut self) -> Vec<Death> {
        let mut reaped = Vec::new();
        let mut events = [EpollEvent::empty(); 64];
        while let Some(deaths) = &self.deaths {
            let count = match deaths.wait(&mut events, EpollTimeout::ZERO) {
                Ok(count) => count,
                Err(nix::errno::Errno::EINTR) => continue,
                Err(_) => break,
            };
            for event in &events[..count] {
                let pid = event.data() as i32;
                let Some(at) = self.members.iter().position(|member| member.pid == pid) else {
                    continue;
                };
                if let Some(exit) = wait_for_end(pid, libc::WNOHANG) {
                    let member = self.members.swap_remove(at);
                    // Closing would not be enough: a sibling that was just forked has a copy of
                    // the pidfd, and until it has closed that, this death would be told again.
                    let _ = deaths.delete(&member.pidfd);
                    self.control.scoreboard.release_all_of(pid);
                    log_death(pid, exit);
                    reaped.push(Death { pid, exit, age: member.born.elapsed() });
                }
            }
            if count < events.len() {
                break;
            }
        }
        reaped
    }

    /// Blocks until a child has ended, the server is told to stop, or `timeout` is over; then
    /// reaps. `None` waits without a bound.
    ///
    /// # Errors
    ///
    /// [`ServeError::Watch`] when poll(2) fails.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Vec<Death>, ServeError> {
        let timeout = timeout.map_or(PollTimeout::NONE, poll_timeout);
        let mut events = vec![PollFd::new(self.control.wake(), PollFlags::POLLIN)];
        events.extend(self.fd().map(|deaths| PollFd::new(deaths, PollFlags::POLLIN)));
        match poll(&mut events, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(ServeError::Watch(errno.into())),
        }
        self.control.drain_wake();
        Ok(self.reap())
    }

    /// Whether the server was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.control.is_stopping()
    }

    /// Tells every child to stop, closes `acceptor`, and blocks until all children have ended:
    /// those that are idle at once, the others after the requests that they have received. Who
    /// has not ended a second after the grace is killed. After a second SIGINT all are killed at
    /// once, and this process ends too.
    ///
    /// # Errors
    ///
    /// [`ServeError::Unfinished`] when children were killed, or ended by themselves because the
    /// grace was over; [`ServeError::Watch`] when waiting failed.
    pub fn stop(mut self, acceptor: Acceptor) -> Result<(), ServeError> {
        let grace = self.control.grace();
        let deadline = Instant::now() + grace + KILL_DELAY;
        self.signal_all(Signal::SIGTERM);
        drop(acceptor);
        let mut unfinished = 0;
        while !self.is_empty() {
            let left = if self.control.is_interrupted_again() {
                Duration::ZERO
            } else {
                deadline.saturating_duration_since(Instant::now())
            };
            if left.is_zero() {
                self.signal_all(Signal::SIGKILL);
            }
            let timeout = if left.is_zero() { KILL_DELAY } else { left };
            let ended = self.wait(Some(timeout))?;
            let was_late = |death: &&Death| match death.exit {
                Exit::Status(status) => status == EXIT_GRACE_EXPIRED,
                Exit::Signal(signal) => signal == libc::SIGKILL && left.is_zero(),
                Exit::Unknown => false,
            };
            unfinished += ended.iter().filter(was_late).count();
        }
        if self.control.is_interrupted_again() {
            exit_now(EXIT_INTERRUPTED);
        }
        match unfinished {
            0 => Ok(()),
            count => Err(ServeError::Unfinished { count, grace }),
        }
    }

    fn signal_all(&self, signal: Signal) {
        for member in &self.members {
            let _ = kill(Pid::from_raw(member.pid), signal);
        }
    }
}

impl Beside for Children {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.deaths.as_ref().map(|deaths| deaths.0.as_fd())
    }

    fn look_after(&mut self) {
        self.reap();
    }
}

impl Acceptor {
    /// As [`accept`](Acceptor::accept), and meanwhile reaps the children that end.
    ///
    /// # Errors
    ///
    /// As [`accept`](Acceptor::accept).
    pub fn accept_and_reap(
        &mut self,
        children: &mut Children,
    ) -> Result<Option<Connection>, ServeError> {
        self.accept_beside(children)
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        self.control.supervise(false);
    }
}

fn log_death(pid: i32, exit: Exit) {
    match exit {
        Exit::Status(0) => tracing::debug!(pid, "child {exit}"),
        _ => tracing::warn!(pid, "child {exit}"),
    }
}
