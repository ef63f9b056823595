//! The children of a server: watched through pidfds (pidfd_open(2), Linux 5.3), told to end step by
//! step, reaped one by one.
//!
//! Nobody calls `waitpid(-1)`, so children that the host program started itself are never touched.

use std::fmt;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rpc_core::internal::{EventSource, StopOrder, Supervision, exit_now, poll_timeout};
use rpc_core::{Acceptor, Connection, ServeError};

use crate::child::{ChildExit, ChildHandle, ChildTable, ExitStatus, Report, StopReason};
use crate::clock::Clock;
use crate::fork::RefusedForks;
use crate::kernel::{Change, check_system, look_for_end, look_for_stop, reap, refuse_threads};
use crate::signal_queue::SignalQueue;
use crate::worker_timeouts::WorkerTimeouts;

/// The signals that every parent reads: they stop it.
const STOPS: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT];

/// What an event of the epoll set is about: one of these, and the child's process id.
const EXIT: u64 = 0;
const STATUS: u64 = 1 << 32;
const SIGNALS: u64 = 2 << 32;
const WAKE: u64 = 3 << 32;

/// What happened to the children of a server, or a signal that is for their owner.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The child with this process id is about to accept for the first time.
    Ready(i32),
    /// The child with this process id goes on, but somebody else should take its place.
    WantsReplacement(i32),
    /// A child has ended and was reaped.
    Exited(ChildExit),
    /// This process got a signal that does not stop the server.
    Signal(Signal),
}

/// The children of one server. The owner never serves a connection itself.
#[must_use = "dropping it leaves the children without anybody who waits for them"]
pub struct Children {
    pub(crate) supervision: Supervision,
    /// Tells which children have ended or said something, and of signals. `None` on the child's
    /// side of a fork.
    pub(crate) epoll: Option<Epoll>,
    /// `None` where signals are handled and not read.
    pub(crate) signals: Option<SignalQueue>,
    pub(crate) clock: Clock,
    pub(crate) timeouts: WorkerTimeouts,
    pub(crate) refused_forks: RefusedForks,
    pub(crate) table: ChildTable,
}

impl Children {
    /// No children yet; they will serve what `acceptor` accepts and stop when it is told to.
    ///
    /// If `acceptor` stops on signals, they are read from now on and no handler runs in this
    /// process any more; SIGQUIT ends it and its children at once, with status 131. Until the
    /// children are dropped SIGTERM, SIGINT and SIGQUIT are blocked, also in programs that the
    /// host program starts meanwhile.
    ///
    /// Standard output is flushed here and not at each fork, since a lock that the parent takes
    /// after a fork is a page that each child has of its own. So what this process prints later
    /// should end its lines: a child has a copy of a line that is not ended, and prints it too.
    ///
    /// # Errors
    ///
    /// [`ServeError::Model`] with a [`ForkError`](crate::ForkError) when this process has other
    /// threads, or when the system does not have or forbids what watching children takes;
    /// [`ServeError::Watch`] and [`ServeError::Signals`] when there is no descriptor for watching
    /// children or for signals.
    pub fn new(acceptor: &Acceptor) -> Result<Children, ServeError> {
        Children::of_workers(acceptor, &[], WorkerTimeouts::default())
    }

    /// As [`new`](Children::new), for [workers](Children::fork_worker). `signals` become
    /// [`Event::Signal`], if `acceptor` stops on signals. With SIGCHLD among them, workers that
    /// somebody stops are noticed: a worker that nobody lets go on in time is made to end.
    ///
    /// # Errors
    ///
    /// As [`new`](Children::new).
    pub fn of_workers(
        acceptor: &Acceptor,
        signals: &[Signal],
        timeouts: WorkerTimeouts,
    ) -> Result<Children, ServeError> {
        refuse_threads()?;
        let _ = io::stdout().flush();
        check_system()?;
        let watch = |errno: Errno| ServeError::Watch(errno.into());
        let readable = |what| EpollEvent::new(EpollFlags::EPOLLIN, what);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(watch)?;
        let supervision = acceptor.supervise();
        epoll.add(supervision.wake(), readable(WAKE)).map_err(watch)?;
        let mut queue = None;
        if supervision.stops_on_signals() {
            let read = SignalQueue::of(STOPS.iter().chain(signals)).map_err(ServeError::Signals)?;
            if let Err(errno) = epoll.add(&read.queue, readable(SIGNALS)) {
                read.end();
                return Err(watch(errno));
            }
            queue = Some(read);
        }
        Ok(Children {
            supervision,
            epoll: Some(epoll),
            signals: queue,
            clock: Clock::default(),
            timeouts,
            refused_forks: RefusedForks::new(),
            table: ChildTable::new(),
        })
    }

    /// How many children there are that were not reaped yet.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// Whether the server was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.supervision.stop_order().is_some()
    }

    /// The time of this process, which stands still while it is suspended; as of the last
    /// [`wait`](Children::wait).
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Blocks until something happened, the server is told to stop, or `timeout` is over. `None`
    /// waits without a bound. Meanwhile children that are to end are told so, step by step.
    ///
    /// # Errors
    ///
    /// [`ServeError::Watch`] when epoll_wait(2) fails.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Vec<Event>, ServeError> {
        let due = self.table.iter().filter_map(|child| child.escalation.as_ref()?.due()).min();
        let due = due.map(|due| due.saturating_sub(self.clock.now()));
        let mut events = Vec::new();
        let limit = timeout.into_iter().chain(due).min();
        self.handle_events(limit, &mut |event| events.push(event))
            .map_err(|errno| ServeError::Watch(errno.into()))?;
        // What has happened came first, so that nobody is punished who was in time.
        let now = self.clock.now();
        self.table.iter_mut().for_each(|child| child.escalate(now));
        Ok(events)
    }

    /// What has happened, without waiting. Reaps every child that has ended; nothing else waits for
    /// them, so no zombie stays, however many end at once.
    pub fn look(&mut self) -> Vec<Event> {
        self.wait(Some(Duration::ZERO)).unwrap_or_default()
    }

    /// Waits for at most `limit`, and tells what has happened; makes no list. Not inlined: its
    /// buffer would make the stack deeper that parent and child write after a fork, and each page
    /// of it is copied.
    #[inline(never)]
    fn handle_events(
        &mut self,
        limit: Option<Duration>,
        on_event: &mut dyn FnMut(Event),
    ) -> nix::Result<()> {
        let mut events = [EpollEvent::empty(); 16];
        let mut timeout = limit.map_or(EpollTimeout::NONE, poll_timeout);
        while let Some(epoll) = &self.epoll {
            let begin = Instant::now();
            let count = match epoll.wait(&mut events, timeout) {
                Err(Errno::EINTR) => 0,
                waited => waited?,
            };
            self.clock.pass(begin.elapsed(), limit);
            for event in &events[..count] {
                let pid = event.data() as u32 as i32;
                match event.data() & !u64::from(u32::MAX) {
                    WAKE => self.supervision.clear_wake(),
                    SIGNALS => self.read_signals(on_event),
                    STATUS => self.on_reports(pid, on_event),
                    _ => self.reap(pid, on_event),
                }
            }
            if count < events.len() {
                break;
            }
            timeout = EpollTimeout::ZERO;
        }
        Ok(())
    }

    fn read_signals(&mut self, on_event: &mut dyn FnMut(Event)) {
        while let Some(signal) = self.signals.as_ref().and_then(SignalQueue::next) {
            match signal {
                Signal::SIGCHLD => self.look_for_stopped(),
                stop if STOPS.contains(&stop) => self.supervision.obey(stop as libc::c_int),
                other => on_event(Event::Signal(other)),
            }
        }
    }

    fn look_for_stopped(&mut self) {
        let (now, limit) = (self.clock.now(), self.timeouts.hung);
        for child in self.table.iter_mut() {
            match look_for_stop(child.pid) {
                Some(Change::Stopped) => child.on_stopped(now, limit),
                Some(Change::Continued) => child.on_continued(),
                _ => {}
            }
        }
    }

    fn on_reports(&mut self, pid: i32, on_event: &mut dyn FnMut(Event)) {
        let Some(child) = self.table.find(pid) else {
            return;
        };
        let reports = child.status.as_mut().map(|status| status.read_reports());
        for report in reports.unwrap_or_default() {
            match report {
                Report::Ready => {
                    child.on_ready(self.clock.now(), self.timeouts.hung);
                    on_event(Event::Ready(pid));
                }
                Report::Replace => on_event(Event::WantsReplacement(pid)),
                // Its end follows, and then this is the reason.
                Report::Failed(_) => {}
            }
        }
    }

    /// Reaps the child, if it has ended.
    fn reap(&mut self, pid: i32, on_event: &mut dyn FnMut(Event)) {
        let Some(Change::Ended(status)) = look_for_end(pid) else {
            return;
        };
        self.on_reports(pid, on_event);
        let Some(child) = self.table.remove(pid) else {
            return;
        };
        self.refused_forks.forget();
        let exit = child.exit(status);
        if exit.was_hard() {
            // What its handlers had started. Until it is waited for, the number is its own.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        self.supervision.child_gone(pid, exit.reason);
        if status != ExitStatus::Unknown {
            reap(pid);
        }
        match exit.is_in_order() {
            true => tracing::debug!(pid, "child {exit}"),
            false => tracing::warn!(pid, "child {exit}"),
        }
        on_event(Event::Exited(exit));
    }

    /// Lets the epoll set tell of a child.
    pub(crate) fn watch(&self, child: &ChildHandle) -> io::Result<()> {
        let Some(epoll) = &self.epoll else {
            return Ok(());
        };
        let pid = child.pid as u64;
        // Each change is told once, and not again and again while it lasts: somebody who traces the
        // child (ptrace(2)) can keep its end from us, and when it lets go, the kernel tells us
        // again; a child can close its pipe and live; and a sibling that was just forked has copies
        // of what we have closed.
        let once = EpollFlags::EPOLLIN | EpollFlags::EPOLLET;
        epoll.add(&child.pidfd, EpollEvent::new(once, EXIT | pid))?;
        if let Some(status) = &child.status {
            epoll.add(&status.reader, EpollEvent::new(once, STATUS | pid))?;
        }
        Ok(())
    }

    /// Retires the child `pid`, if it is not ending already: it accepts no more and goes when its
    /// connections have ended. After the [drain time](WorkerTimeouts::drain) they are closed
    /// between two calls. One that is not ready yet has a second.
    pub fn retire(&mut self, pid: i32, why: StopReason) {
        let now = self.clock.now();
        if let Some(child) = self.table.find(pid).filter(|child| !child.is_ending()) {
            child.end(why, now, self.timeouts.drain);
            self.supervision.child_retires(pid);
        }
    }

    /// Lets the child `pid` go its own way: it is nobody's child when this process has ended.
    pub fn disown(&mut self, pid: i32) {
        self.table.remove(pid);
    }

    /// Tells every child to stop, closes `acceptor`, and blocks until all children have ended:
    /// those that are idle at once, the others after the requests that they have received. Who
    /// has not ended a second after the grace is killed. After a second SIGINT, or SIGQUIT, all
    /// are killed at once, and this process ends too.
    ///
    /// # Errors
    ///
    /// [`ServeError::Unfinished`] when children were killed, or ended by themselves because the
    /// grace was over; [`ServeError::Watch`] when waiting failed.
    pub fn stop(mut self, mut acceptor: Acceptor) -> Result<(), ServeError> {
        // Before the workers let go of the socket: the last who does so resets the queue.
        acceptor.admit_no_more();
        let grace = acceptor.grace();
        self.stop_all(StopOrder { grace, at_once: None });
        acceptor.reject_queue();
        match self.wait_for_all(acceptor)? {
            0 => Ok(()),
            count => Err(ServeError::Unfinished { count, grace }),
        }
    }

    /// Retires every child, closes `acceptor`, and blocks until all children have ended, at the
    /// latest two seconds after the [drain time](WorkerTimeouts::drain). A stop that comes
    /// meanwhile is obeyed.
    ///
    /// # Errors
    ///
    /// [`ServeError::Watch`] when waiting failed.
    pub fn drain(mut self, acceptor: Acceptor) -> Result<(), ServeError> {
        let children: Vec<_> = self.table.iter().map(|child| child.pid).collect();
        for pid in children {
            self.retire(pid, StopReason::Retire);
        }
        self.wait_for_all(acceptor).map(drop)
    }

    /// Closes `acceptor` as soon as nobody comes any more, and blocks until all children have
    /// ended. How many did not finish what they had begun.
    fn wait_for_all(&mut self, acceptor: Acceptor) -> Result<usize, ServeError> {
        let mut acceptor = Some(acceptor);
        let mut unfinished = 0;
        loop {
            let order = self.supervision.stop_order();
            if let Some(order) = order {
                self.stop_all(order);
            }
            let awaited = acceptor.as_ref().and_then(Acceptor::awaits_handshakes);
            if let Some(acceptor) = acceptor.take_if(|_| awaited.is_none()) {
                acceptor.close();
            }
            if self.is_empty() && acceptor.is_none() {
                match order.and_then(|order| order.at_once) {
                    Some(status) => exit_now(status),
                    None => return Ok(unfinished),
                }
            }
            for event in self.wait(awaited)? {
                if let Event::Exited(exit) = event {
                    unfinished += usize::from(exit.is_unfinished());
                }
            }
        }
    }

    /// Tells the children that were not told yet to stop, or kills all.
    fn stop_all(&mut self, order: StopOrder) {
        let now = self.clock.now();
        self.table.iter_mut().for_each(|child| child.stop(now, order));
    }
}

impl EventSource for Children {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.epoll.as_ref().map(|epoll| epoll.0.as_fd())
    }

    fn on_event(&mut self) {
        let _ = self.handle_events(Some(Duration::ZERO), &mut |_| {});
    }
}

/// As [`Acceptor::accept`], and meanwhile reaps the children that end. After `None` it is for
/// [`Children::stop`] to close the acceptor.
///
/// # Errors
///
/// As [`Acceptor::accept`].
pub fn accept_and_reap(
    acceptor: &mut Acceptor,
    children: &mut Children,
) -> Result<Option<Connection>, ServeError> {
    acceptor.accept_beside(Some(children))
}

impl fmt::Debug for Children {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pids = self.table.iter().map(|child| child.pid);
        f.debug_set().entries(pids).finish()
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        // What has come since the last look was meant for a server that has ended. Let through, it
        // would do to the program what it does by default: a second SIGTERM kills it, a SIGTTIN
        // stops it. In a child there is no queue any more, so nothing that is the child's is lost.
        while self.signals.as_ref().and_then(SignalQueue::next).is_some() {}
        if let Some(signals) = self.signals.take() {
            signals.end();
        }
    }
}
