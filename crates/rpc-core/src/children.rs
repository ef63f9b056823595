//! The children of a server: watched through pidfds (pidfd_open(2), Linux 5.3), told to end step by
//! step, reaped one by one.
//!
//! Nobody calls `waitpid(-1)`, so children that the host program started itself are never touched.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rpc_proto::stats::WorkerState;

use crate::acceptor::Acceptor;
use crate::connection::Connection;
use crate::death::Why;
use crate::error::ServeError;
use crate::ladder::Ladder;
use crate::member::Member;
use crate::members::Members;
use crate::pause::Pause;
use crate::process::{
    Change, Exit, check_system, look_for_end, look_for_stop, reap, refuse_threads,
};
use crate::report::Report;
use crate::shutdown::{Control, exit_now};
use crate::signal_queue::SignalQueue;
use crate::socket::poll_timeout;
use crate::supervision::{Clock, Event, Order, Patience};
use crate::waiting::Beside;

/// The signals that a parent reads: they stop it.
const OF_PARENT: [Signal; 3] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT];

/// The signals that a master reads besides.
const OF_MASTER: [Signal; 5] =
    [Signal::SIGHUP, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGUSR2, Signal::SIGCHLD];

/// What an event of the epoll set is about: one of these, and the child's process id.
pub(crate) const DEATH: u64 = 0;
pub(crate) const STATUS: u64 = 1 << 32;
const SIGNALS: u64 = 2 << 32;

/// The children of one server. The owner never serves a connection itself.
pub struct Children {
    pub(crate) control: Arc<Control>,
    /// Tells which of `members` have ended or said something, and of signals. `None` on the
    /// child's side of a fork.
    pub(crate) happenings: Option<Epoll>,
    /// `None` where signals are handled and not read.
    pub(crate) signals: Option<SignalQueue>,
    pub(crate) clock: Clock,
    pub(crate) pause: Pause,
    /// `None` if the children need not say that they are ready.
    pub(crate) patience: Option<Patience>,
    pub(crate) members: Members,
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
    /// [`ServeError::Fork`] when this process has other threads, or when the system does not have
    /// or forbids what watching children takes; [`ServeError::Watch`] and [`ServeError::Signals`]
    /// when there is no descriptor for watching children or for signals.
    pub fn new(acceptor: &Acceptor) -> Result<Children, ServeError> {
        Children::reading(acceptor, None, &OF_PARENT)
    }

    /// As [`new`](Children::new), and these children are workers: each says when it is ready, and
    /// has `patience` for that. SIGHUP, SIGTTIN, SIGTTOU and SIGUSR2 become [`Event::Order`], and
    /// SIGCHLD tells of stopped workers.
    ///
    /// # Errors
    ///
    /// As [`new`](Children::new).
    pub fn of_workers(acceptor: &Acceptor, patience: Patience) -> Result<Children, ServeError> {
        Children::reading(acceptor, Some(patience), &[&OF_PARENT[..], &OF_MASTER[..]].concat())
    }

    fn reading(
        acceptor: &Acceptor,
        patience: Option<Patience>,
        signals: &[Signal],
    ) -> Result<Children, ServeError> {
        refuse_threads()?;
        let _ = io::stdout().flush();
        check_system()?;
        let happenings = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC);
        let happenings = happenings.map_err(|errno| ServeError::Watch(errno.into()))?;
        let control = acceptor.control();
        control.supervise(true);
        // Children inherit the handlers, and need not make their own one by one.
        control.watch_crashes();
        let mut children = Children {
            control,
            happenings: Some(happenings),
            signals: None,
            clock: Clock::default(),
            pause: Pause::default(),
            patience,
            members: Members::new(),
        };
        children.read_queue_of(signals)?;
        Ok(children)
    }

    fn read_queue_of(&mut self, signals: &[Signal]) -> Result<(), ServeError> {
        if let (true, Some(happenings)) = (self.control.is_signalled(), &self.happenings) {
            let queue = SignalQueue::of(signals).map_err(ServeError::Signals)?;
            let event = EpollEvent::new(EpollFlags::EPOLLIN, SIGNALS);
            let added = happenings.add(&queue, event);
            added.map_err(|errno| ServeError::Watch(errno.into()))?;
            self.signals = Some(queue);
        }
        Ok(())
    }

    /// How many children there are that were not reaped yet.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.members.len() == 0
    }

    /// The time of this process, which stands still while it is suspended; as of the last
    /// [`wait`](Children::wait).
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Retires the child `pid`, if it is not ending already: it accepts no more and goes when its
    /// connections have ended. When the drain time is over, they are closed between two calls. One
    /// that is not ready yet has a second.
    pub fn retire(&mut self, pid: i32, why: Why) {
        let (now, patience) = (self.clock.now(), self.patience.unwrap_or_default());
        if let Some(member) = self.members.find(pid)
            && !member.is_told()
        {
            let ladder = member.if_ready(now, Ladder::retire(why, now, patience.drain));
            member.ladder = Some(Box::new(ladder));
            self.set_state(pid, WorkerState::Retiring);
            self.climb();
        }
    }

    /// Blocks until something happened, the server is told to stop, or `timeout` is over. `None`
    /// waits without a bound. Meanwhile children that are to end are told so, step by step.
    ///
    /// # Errors
    ///
    /// [`ServeError::Watch`] when poll(2) fails.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Vec<Event>, ServeError> {
        let due = self.members.iter().filter_map(|member| member.ladder.as_ref()?.due()).min();
        let due = due.map(|due| due.saturating_sub(self.clock.now()));
        let limit = timeout.into_iter().chain(due).min();
        let mut events = vec![PollFd::new(self.control.wake(), PollFlags::POLLIN)];
        events.extend(self.fd().map(|happenings| PollFd::new(happenings, PollFlags::POLLIN)));
        let begin = Instant::now();
        match poll(&mut events, limit.map_or(PollTimeout::NONE, poll_timeout)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(ServeError::Watch(errno.into())),
        }
        self.clock.pass(begin.elapsed(), limit);
        self.control.drain_wake();
        // What has happened comes first, so that nobody is punished who was in time.
        let happened = self.look();
        self.climb();
        Ok(happened)
    }

    /// What has happened, without waiting. Takes leave of every child that has ended; nothing else
    /// waits for them, so no zombie stays, however many end at once.
    pub fn look(&mut self) -> Vec<Event> {
        let mut happened = Vec::new();
        self.look_each(&mut |event| happened.push(event));
        happened
    }

    /// As [`look`](Children::look), and makes no list. Not inlined: its buffer would make the stack
    /// deeper that parent and child write after a fork, and each page of it is copied.
    #[inline(never)]
    fn look_each(&mut self, tell: &mut dyn FnMut(Event)) {
        let mut events = [EpollEvent::empty(); 16];
        while let Some(happenings) = &self.happenings {
            let count = match happenings.wait(&mut events, EpollTimeout::ZERO) {
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                Err(_) => break,
            };
            for event in &events[..count] {
                let pid = event.data() as u32 as i32;
                match event.data() & !u64::from(u32::MAX) {
                    SIGNALS => self.read_signals(tell),
                    STATUS => self.hear(pid, tell),
                    _ => self.bury(pid, tell),
                }
            }
            if count < events.len() {
                break;
            }
        }
    }

    fn read_signals(&mut self, tell: &mut dyn FnMut(Event)) {
        while let Some(signal) = self.signals.as_ref().and_then(SignalQueue::next) {
            match signal {
                Signal::SIGHUP => tell(Event::Order(Order::Reload)),
                Signal::SIGTTIN => tell(Event::Order(Order::OneMore)),
                Signal::SIGTTOU => tell(Event::Order(Order::OneLess)),
                Signal::SIGUSR2 => tell(Event::Order(Order::Upgrade)),
                Signal::SIGCHLD => self.look_for_stopped(),
                signal => self.control.obey(signal as libc::c_int, false),
            }
        }
    }

    /// A worker that somebody has stopped has a while until somebody must have let it go on.
    fn look_for_stopped(&mut self) {
        let (now, patience) = (self.clock.now(), self.patience.unwrap_or_default());
        for member in self.members.iter_mut() {
            let pid = member.pid;
            match look_for_stop(pid) {
                Some(Change::Stopped) => member.is_stopped = true,
                Some(Change::Continued) => {
                    member.is_stopped = false;
                    member.call_off(Why::Hung);
                }
                _ => {}
            }
            member.mind_stop(now, patience.hung);
        }
    }

    fn hear(&mut self, pid: i32, tell: &mut dyn FnMut(Event)) {
        let (now, patience) = (self.clock.now(), self.patience.unwrap_or_default());
        let Some(member) = self.members.find(pid) else {
            return;
        };
        let Some(status) = &mut member.status else {
            return;
        };
        let (reports, is_open) = status.hear();
        if let (false, Some(happenings)) = (is_open, &self.happenings) {
            // Its end would be told again and again until the child is dead.
            let _ = happenings.delete(&**status);
        }
        for report in reports {
            match report {
                Report::Ready => {
                    member.call_off(Why::BootTimeOut);
                    if let Some(ladder) = &mut member.ladder {
                        ladder.become_ready();
                    }
                    // It may have been stopped before its word arrived.
                    member.mind_stop(now, patience.hung);
                    tell(Event::Ready(pid));
                }
                Report::Replace => tell(Event::WantsReplacement(pid)),
                // Its death follows, and then this is the reason.
                Report::Failed(_) => {}
            }
        }
    }

    /// Takes leave of the child, if it has ended.
    fn bury(&mut self, pid: i32, tell: &mut dyn FnMut(Event)) {
        if !self.members.contains(pid) {
            return;
        }
        let Some(exit) = look_for_end(pid) else {
            return;
        };
        self.hear(pid, tell);
        let Some(member) = self.members.remove(pid) else {
            return;
        };
        self.pause.end();
        if let Some(happenings) = &self.happenings {
            // Closing would not be enough: a sibling that was just forked has copies, and until it
            // has closed those, this death would be told again.
            let _ = happenings.delete(&member.pidfd);
            let _ = member.status.as_ref().map(|status| happenings.delete(&**status));
        }
        let death = member.death(exit);
        if death.reason.was_hard() {
            // What its handlers had started. Until it is waited for, the number is its own.
            let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        self.control.scoreboard.release_all_of(pid);
        self.control.scoreboard.tallies().count_death(&death.reason);
        if exit != Exit::Unknown {
            reap(pid);
        }
        match death.reason.is_in_order() {
            true => tracing::debug!(pid, "child {}", death.reason),
            false => tracing::warn!(pid, "child {}", death.reason),
        }
        tell(Event::Ended(death));
    }

    /// Sends the signals that are due.
    fn climb(&mut self) {
        let now = self.clock.now();
        for member in self.members.iter_mut() {
            while let Some(signal) = member.ladder.as_mut().and_then(|ladder| ladder.climb(now)) {
                member.signal(signal);
            }
        }
    }

    /// Says to which generation the workers belong that are forked from now on, for those who look
    /// at the server's stats; 1 unless told.
    pub fn set_generation(&self, generation: u32) {
        self.control.scoreboard.set_generation(generation);
    }

    /// Says where the worker `pid` stands, for those who look at the server's stats. That it is
    /// ready it says itself when it accepts for the first time.
    pub fn set_state(&self, pid: i32, state: WorkerState) {
        self.control.scoreboard.workers().set_state(pid, state);
    }

    /// Whether the server was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.control.is_stopping()
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
        let grace = self.control.grace();
        let now = self.clock.now();
        self.put_all_on(|member| member.if_ready(now, Ladder::stop(now, grace)));
        acceptor.turn_away();
        match self.wait_for_all(true, Some(acceptor))? {
            0 => Ok(()),
            count => Err(ServeError::Unfinished { count, grace }),
        }
    }

    /// Retires every child, closes `acceptor`, and blocks until all children have ended, at the
    /// latest two seconds after the drain time. A stop that comes meanwhile is obeyed.
    ///
    /// # Errors
    ///
    /// [`ServeError::Watch`] when waiting failed.
    pub fn drain(mut self, acceptor: Acceptor) -> Result<(), ServeError> {
        let (now, patience) = (self.clock.now(), self.patience.unwrap_or_default());
        let ladder = || Ladder::retire(Why::Retire, now, patience.drain);
        self.put_all_on(|member| member.if_ready(now, ladder()));
        drop(acceptor);
        self.wait_for_all(false, None).map(drop)
    }

    /// How many did not finish what they had begun. Meanwhile `acceptor` is closed, as soon as
    /// nobody comes any more.
    fn wait_for_all(
        &mut self,
        mut are_told_to_stop: bool,
        mut acceptor: Option<Acceptor>,
    ) -> Result<usize, ServeError> {
        let mut unfinished = 0;
        while !self.is_empty() {
            let now = self.clock.now();
            if self.control.ends_at_once().is_some() {
                self.put_all_on(|_| Ladder::kill(Why::Stop, now));
            } else if self.is_stopping() && !are_told_to_stop {
                are_told_to_stop = true;
                let grace = self.control.grace();
                self.put_all_on(|member| member.if_ready(now, Ladder::stop(now, grace)));
            }
            let awaited = acceptor.as_ref().and_then(Acceptor::awaits_handshakes);
            if awaited.is_none() {
                acceptor = None;
            }
            let happened = self.wait(awaited)?;
            let is_unfinished = |event: &&Event| match event {
                Event::Ended(death) => death.reason.is_unfinished(),
                _ => false,
            };
            unfinished += happened.iter().filter(is_unfinished).count();
        }
        if let Some(status) = self.control.ends_at_once() {
            exit_now(status);
        }
        Ok(unfinished)
    }

    fn put_all_on(&mut self, ladder: impl Fn(&Member) -> Ladder) {
        for member in self.members.iter_mut() {
            member.ladder = Some(Box::new(ladder(member)));
        }
        self.climb();
    }
}

impl Beside for Children {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.happenings.as_ref().map(|happenings| happenings.0.as_fd())
    }

    fn look_after(&mut self) {
        self.look_each(&mut |_| {});
    }
}

impl Acceptor {
    /// As [`accept`](Acceptor::accept), and meanwhile reaps the children that end. After `None`
    /// it is for [`Children::stop`] to close this acceptor.
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
        // What has come since the last look was meant for a server that has ended. Let through, it
        // would do to the program what it does by default: a second SIGTERM kills it, a SIGTTIN
        // stops it. In a child there is no queue any more, so nothing that is the child's is lost.
        while self.signals.as_ref().and_then(SignalQueue::next).is_some() {}
        self.control.supervise(false);
    }
}
