//! The master's state: places, who works in them, and who is to take over.
//!
//! ```text
//!   place:  empty ──fork──▶ current (boots ──ready──▶ serves) ──death──▶ empty, after a delay
//!                             │ reload, or its own wish
//!                             ▼
//!                           next (boots ──ready──▶ serves beside current)
//!                             │ every next of the renewal is ready
//!                             ▼
//!                           next becomes current, and current retires: only its process id stays
//! ```
//!
//! Peers can bring about that workers retire, and keep them with open connections. So at most as
//! many workers retire at a time as there are places, and a renewal begins only when the workers
//! that it will retire fit in. With the new workers of a renewal, which take their room ahead,
//! there are never more workers than twice the places, unless signals take places away.
//!
//! Signals, deaths and reports come from [`Children`]; this is what they mean.

use std::fmt;
use std::time::Duration;

use rpc_core::{Acceptor, Children, Death, Event, Fork, ForkError, Order, Reason, ServeError, Why};
use rpc_daemon::internal::{STATUS_VARIABLE, report_ready};
use rpc_daemon::{Notice, PidFile, notify};

use crate::Config;
use crate::backoff::{Backoff, chance};

/// More workers than this are a slip of the finger: each of them is a process from the start.
const MAX_WORKERS: usize = 1024;

/// When each place has failed so often and no worker was ever ready, the server gives up.
const BOOT_ATTEMPTS: u32 = 5;

/// A place is not recycled again sooner than this after its last replacement took over, whatever
/// its peers do.
const RECYCLE_PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Crew {
    children: Children,
    config: Config,
    places: Vec<Place>,
    renewal: Option<Renewal>,
    /// The process ids of workers that were told to retire and have not ended.
    retiring: Vec<i32>,
    /// Counts the reloads, from 1.
    generation: u32,
    /// One that has not begun; several are one.
    reload_is_wanted: bool,
    /// Whether the log says already that it waits for retiring workers.
    reload_wait_is_logged: bool,
    was_ever_ready: bool,
    /// Whether all workers were ready once, and everybody knows.
    has_said_ready: bool,
    gave_up: Option<ServeError>,
    upgrade_is_wanted: bool,
    successor: Option<Worker>,
}

/// What is replaced while it still works. One at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Renewal {
    /// All workers, together.
    Reload,
    /// One worker that asked for it.
    Recycle,
}

#[derive(Default)]
struct Place {
    current: Option<Worker>,
    next: Option<Worker>,
    /// Whether the renewal is about this place.
    is_renewed: bool,
    backoff: Backoff,
    /// When it may be recycled, by the master's clock.
    rests_until: Duration,
    failed_boots: u32,
}

struct Worker {
    pid: i32,
    is_ready: bool,
    /// Whether it asked for a replacement, which it does once: perhaps before it has taken over.
    wants_replacement: bool,
}

impl Worker {
    fn new(pid: i32) -> Worker {
        Worker { pid, is_ready: false, wants_replacement: false }
    }
}

impl Place {
    /// When its worker may be replaced, if it asked for that.
    fn recycle_due(&self) -> Option<Duration> {
        let worker = self.current.as_ref().filter(|worker| worker.wants_replacement);
        worker.map(|_| self.backoff.until().max(self.rests_until))
    }
}

/// A place where a worker is missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vacancy {
    place: usize,
    is_next: bool,
}

impl Crew {
    pub(crate) fn new(acceptor: &mut Acceptor, config: Config) -> Result<Crew, ServeError> {
        let children = Children::of_workers(acceptor, config.patience)?;
        acceptor.share_with_workers()?;
        Ok(Crew {
            children,
            places: (0..config.workers).map(|_| Place::default()).collect(),
            config,
            renewal: None,
            retiring: Vec::new(),
            generation: 1,
            reload_is_wanted: false,
            reload_wait_is_logged: false,
            was_ever_ready: false,
            has_said_ready: false,
            gave_up: None,
            upgrade_is_wanted: false,
            successor: None,
        })
    }

    /// Blocks until a worker is missing; `None` when the server is to stop, or when a successor
    /// has taken over.
    pub(crate) fn next_vacancy(
        &mut self,
        acceptor: &mut Acceptor,
    ) -> Result<Option<Vacancy>, ServeError> {
        loop {
            if self.children.is_stopping() || self.gave_up.is_some() || self.has_successor() {
                return Ok(None);
            }
            self.begin_upgrade(acceptor);
            self.begin_renewal();
            let now = self.children.now();
            let missing = self.missing().min_by_key(|(due, _)| *due);
            match missing {
                Some((due, vacancy)) if due <= now => return Ok(Some(vacancy)),
                _ => {}
            }
            let recycle_due = self.next_recycle().map(|(due, _)| due);
            let due = missing.map(|(due, _)| due).into_iter().chain(recycle_due).min();
            for event in self.children.wait(due.map(|due| due.saturating_sub(now)))? {
                self.take_in(event);
                self.say_ready(acceptor);
            }
        }
    }

    /// Forks a worker for the vacancy; one that cannot be forked is tried again later.
    pub(crate) fn fork(&mut self, vacancy: Vacancy) -> Result<Fork, ForkError> {
        let calls = self.config.max_requests.map(|calls| calls.drawn(chance()));
        let place = &mut self.places[vacancy.place];
        match self.children.fork() {
            Ok(Fork::Parent(pid)) => {
                let worker = Some(Worker::new(pid));
                match vacancy.is_next {
                    true => place.next = worker,
                    false => place.current = worker,
                }
                Ok(Fork::Parent(pid))
            }
            Ok(Fork::Child(mut child)) => {
                if self.config.pin_workers {
                    child = child.pinned(vacancy.place);
                }
                if let Some(calls) = calls {
                    child = child.replaced_after(calls);
                }
                Ok(Fork::Child(child))
            }
            Err(error) => {
                place.backoff.after_failure(self.children.now(), chance());
                // What it lacks, the others of the renewal have; and while it waits, no other
                // renewal can begin.
                if vacancy.is_next {
                    self.call_off_renewal(&format_args!("cannot be forked: {error}"));
                } else {
                    place.failed_boots += 1;
                    self.give_up_if_hopeless(&Reason::not_forked(&error));
                }
                Err(error)
            }
        }
    }

    /// Blocks until all workers have ended: as [`Children::stop`], or, if a successor has taken
    /// over, as [`Children::drain`].
    pub(crate) fn stop(mut self, mut acceptor: Acceptor) -> Result<(), ServeError> {
        match self.successor.take() {
            Some(successor) if successor.is_ready => {
                notify(Notice::MainProcess(successor.pid));
                self.children.let_go(successor.pid);
                acceptor.leave_socket_to_others();
                self.children.drain(acceptor)
            }
            _ => {
                let stopped = self.children.stop(acceptor);
                self.gave_up.map_or(stopped, Err)
            }
        }
    }

    /// Where workers are missing, and when each may be forked.
    fn missing(&self) -> impl Iterator<Item = (Duration, Vacancy)> {
        self.places.iter().enumerate().filter_map(|(at, place)| {
            let is_next = place.current.is_some();
            let is_missing = !is_next || place.is_renewed && place.next.is_none();
            is_missing.then_some((place.backoff.until(), Vacancy { place: at, is_next }))
        })
    }

    /// When the next worker that asked for its replacement may get it, and its place; who was
    /// recycled last comes last. `None` also while something else must happen first.
    fn next_recycle(&self) -> Option<(Duration, usize)> {
        if self.renewal.is_some() || self.reload_is_wanted || !self.may_retire(1) {
            return None;
        }
        let places = self.places.iter().enumerate();
        places.filter_map(|(at, place)| Some((place.recycle_due()?, at))).min()
    }

    /// Whether there is room for `count` more workers that retire.
    fn may_retire(&self, count: usize) -> bool {
        self.retiring.len() + count <= self.places.len()
    }

    fn retire(&mut self, worker: &Worker, why: Why) {
        self.children.retire(worker.pid, why);
        self.retiring.push(worker.pid);
    }

    fn take_in(&mut self, event: Event) {
        match event {
            Event::Ready(pid) => self.note_ready(pid),
            Event::WantsReplacement(pid) => {
                let workers = self.places.iter_mut().flat_map(|p| [&mut p.current, &mut p.next]);
                if let Some(worker) = workers.flatten().find(|worker| worker.pid == pid) {
                    worker.wants_replacement = true;
                }
            }
            Event::Ended(death) => self.note_death(&death),
            Event::Order(Order::Reload) => self.reload_is_wanted = true,
            Event::Order(Order::Upgrade) => self.upgrade_is_wanted = true,
            Event::Order(Order::OneMore) => self.one_more(),
            Event::Order(Order::OneLess) => self.one_less(),
            _ => {}
        }
    }

    fn note_ready(&mut self, pid: i32) {
        if let Some(successor) = self.successor.as_mut().filter(|new| new.pid == pid) {
            tracing::info!(pid, "upgraded: a new server takes over");
            successor.is_ready = true;
            return;
        }
        self.was_ever_ready = true;
        for place in &mut self.places {
            for worker in [&mut place.current, &mut place.next].into_iter().flatten() {
                if worker.pid == pid {
                    worker.is_ready = true;
                    place.failed_boots = 0;
                }
            }
        }
        self.finish_renewal();
    }

    /// Once all places have a worker that is ready, says so to the program and to the master before
    /// this one. That may also be because a place was given up or renewed.
    fn say_ready(&mut self, acceptor: &mut Acceptor) {
        let is_ready = |place: &Place| place.current.as_ref().is_some_and(|worker| worker.is_ready);
        if !self.has_said_ready && self.places.iter().all(is_ready) {
            self.has_said_ready = true;
            report_ready();
            acceptor.announce_accepting();
        }
    }

    fn note_death(&mut self, death: &Death) {
        let now = self.children.now();
        let Death { pid, reason, was_ready, age, .. } = death;
        if is(&self.successor, *pid) {
            tracing::error!("upgrade called off, this server goes on: the new one {reason}");
            self.successor = None;
            self.take_pid_file_back();
            return;
        }
        let is_it = |place: &&mut Place| is(&place.current, *pid) || is(&place.next, *pid);
        let Some(place) = self.places.iter_mut().find(is_it) else {
            self.retiring.retain(|retiring| retiring != pid);
            return;
        };
        let is_next = is(&place.next, *pid);
        match is_next {
            true => place.next = None,
            false => place.current = None,
        }
        // A deadline says something about a call and nothing about the worker.
        if *reason != Reason::Deadline {
            place.backoff.after_death(now, *age, chance());
        }
        if !was_ready {
            place.failed_boots += 1;
        }
        if is_next && !was_ready {
            self.call_off_renewal(reason);
        }
        self.give_up_if_hopeless(reason);
    }

    fn give_up_if_hopeless(&mut self, reason: &Reason) {
        if !self.was_ever_ready
            && self.places.iter().all(|place| place.failed_boots >= BOOT_ATTEMPTS)
        {
            self.gave_up = Some(ServeError::NeverReady { reason: reason.clone() });
        }
    }

    fn has_successor(&self) -> bool {
        self.successor.as_ref().is_some_and(|successor| successor.is_ready)
    }

    /// Starts a successor, one at a time.
    fn begin_upgrade(&mut self, acceptor: &Acceptor) {
        if !std::mem::take(&mut self.upgrade_is_wanted) || self.successor.is_some() {
            return;
        }
        if let Some(Err(error)) = self.config.pid_file.as_ref().map(PidFile::step_aside) {
            // The new server will say what it cannot do without.
            tracing::warn!(%error, "the pidfile cannot be renamed");
        }
        match self.children.start_successor(acceptor, STATUS_VARIABLE) {
            Ok(pid) => {
                tracing::info!(pid, "upgrading: starting a new server");
                self.successor = Some(Worker::new(pid));
            }
            Err(error) => {
                tracing::error!(%error, "cannot start a new server, this one goes on");
                self.take_pid_file_back();
            }
        }
    }

    /// Gives the pidfile its name back, when the new server has failed.
    fn take_pid_file_back(&self) {
        if let Some(Err(error)) = self.config.pid_file.as_ref().map(PidFile::come_back) {
            tracing::warn!(%error, "the pidfile does not get its name back");
        }
    }

    fn begin_renewal(&mut self) {
        if self.renewal.is_some() {
            return;
        }
        if self.reload_is_wanted {
            if !self.may_retire(self.places.len()) {
                if !std::mem::replace(&mut self.reload_wait_is_logged, true) {
                    let retiring = self.retiring.len();
                    tracing::info!(retiring, "reload waits until the retiring workers have ended");
                }
                return;
            }
            tracing::info!(workers = self.places.len(), "reloading: starting new workers");
            notify(Notice::Reloading);
            self.reload_is_wanted = false;
            self.reload_wait_is_logged = false;
            self.renewal = Some(Renewal::Reload);
            self.generation += 1;
            self.children.set_generation(self.generation);
            for place in &mut self.places {
                place.is_renewed = true;
                place.backoff = Backoff::default();
            }
            return;
        }
        if let Some((due, place)) = self.next_recycle()
            && due <= self.children.now()
        {
            self.renewal = Some(Renewal::Recycle);
            self.places[place].is_renewed = true;
        }
    }

    /// Once every new worker is ready, lets them take over.
    fn finish_renewal(&mut self) {
        let is_ready = |worker: &Option<Worker>| worker.as_ref().is_some_and(|new| new.is_ready);
        let Some(renewal) = self.renewal else {
            return;
        };
        if self.places.iter().any(|place| place.is_renewed && !is_ready(&place.next)) {
            return;
        }
        let why = match renewal {
            Renewal::Reload => Why::Retire,
            Renewal::Recycle => Why::Recycle,
        };
        let rests_until = self.children.now() + RECYCLE_PAUSE;
        let mut replaced = Vec::new();
        for place in self.places.iter_mut().filter(|place| place.is_renewed) {
            place.is_renewed = false;
            place.rests_until = rests_until;
            replaced.extend(std::mem::replace(&mut place.current, place.next.take()));
        }
        for worker in &replaced {
            self.retire(worker, why);
        }
        self.renewal = None;
        if renewal == Renewal::Reload {
            tracing::info!(workers = self.places.len(), "reloaded: new workers serve");
            notify(Notice::Ready);
        }
    }

    /// The old workers go on. One that asked for its replacement gets it later.
    fn call_off_renewal(&mut self, reason: &dyn fmt::Display) {
        if self.renewal == Some(Renewal::Reload) {
            tracing::error!("reload called off, the old workers go on: a new one {reason}");
            notify(Notice::Ready);
        }
        self.renewal = None;
        let mut new = Vec::new();
        for place in &mut self.places {
            place.is_renewed = false;
            new.extend(place.next.take());
        }
        for worker in &new {
            self.retire(worker, Why::Retire);
        }
    }

    fn one_more(&mut self) {
        if self.places.len() < MAX_WORKERS {
            self.places.push(Place::default());
        }
        tracing::info!(workers = self.places.len(), "one worker more");
    }

    fn one_less(&mut self) {
        if self.places.len() > 1
            && let Some(place) = self.places.pop()
        {
            for worker in [place.current, place.next].into_iter().flatten() {
                self.retire(&worker, Why::Retire);
            }
            self.finish_renewal();
        }
        tracing::info!(workers = self.places.len(), "one worker less");
    }
}

fn is(worker: &Option<Worker>, pid: i32) -> bool {
    worker.as_ref().is_some_and(|worker| worker.pid == pid)
}
