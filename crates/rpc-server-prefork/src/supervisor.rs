//! The master's state: worker slots, who works in them, and who is to take over.
//!
//! ```text
//!   slot:  empty ──fork──▶ current (boots ──ready──▶ serves) ──ends──▶ empty, after a delay
//!                            │ reload, or its own wish
//!                            ▼
//!                          next (boots ──ready──▶ serves beside current)
//!                            │ every next of the rolling restart is ready
//!                            ▼
//!                          next becomes current, and current retires: only its process id stays
//! ```
//!
//! Peers can bring about that workers retire, and keep them with open connections. So at most as
//! many workers retire at a time as there are slots, and a rolling restart begins only when the
//! workers that it will retire fit in. With its new workers, which take their room ahead, there are
//! never more workers than twice the slots, unless signals take slots away.
//!
//! Signals, exits and reports come from [`Children`]; this is what they mean.

use std::fmt;
use std::time::Duration;

use nix::sys::signal::Signal;
use rpc_core::internal::with_causes;
use rpc_core::{Acceptor, ExitReason, ServeError};
use rpc_daemon::internal::report_ready;
use rpc_daemon::{Notice, notify};
use rpc_process::{ChildExit, Children, Event, Fork, ForkError, StopReason};

use crate::config::Config;
use crate::error::NeverReady;
use crate::pinning::pin_to_processor;
use crate::restart_delay::{RestartDelay, chance};
use crate::upgrade::Upgrade;
use crate::worker_slot::{Worker, WorkerSlot};

/// The signals that a master reads besides those that stop it; SIGCHLD tells of stopped workers.
const SIGNALS: [Signal; 5] =
    [Signal::SIGHUP, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGUSR2, Signal::SIGCHLD];

/// More workers than this are a slip of the finger: each of them is a process from the start.
const MAX_WORKERS: usize = 1024;

/// When each slot has failed so often and no worker was ever ready, the server gives up.
const BOOT_ATTEMPTS: u32 = 5;

/// A slot is not recycled again sooner than this after its last replacement took over, whatever
/// its peers do.
const RECYCLE_PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Supervisor {
    children: Children,
    config: Config,
    slots: Vec<WorkerSlot>,
    restart: Option<RollingRestart>,
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
    gave_up: Option<NeverReady>,
    upgrade: Upgrade,
}

/// What is replaced while it still works. One at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RollingRestart {
    /// All workers, together.
    Reload,
    /// One worker that asked for it.
    Recycle,
}

/// A slot in which a worker is missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MissingWorker {
    slot: usize,
    is_next: bool,
}

impl Supervisor {
    pub(crate) fn new(acceptor: &mut Acceptor, config: Config) -> Result<Supervisor, ServeError> {
        let children = Children::reading(acceptor, &SIGNALS)?;
        acceptor.share_with_workers()?;
        Ok(Supervisor {
            children,
            slots: (0..config.workers).map(|_| WorkerSlot::default()).collect(),
            config,
            restart: None,
            retiring: Vec::new(),
            generation: 1,
            reload_is_wanted: false,
            reload_wait_is_logged: false,
            was_ever_ready: false,
            has_said_ready: false,
            gave_up: None,
            upgrade: Upgrade::default(),
        })
    }

    /// Blocks until a worker is missing; `None` when the server is to stop, or when a new server
    /// has taken over.
    pub(crate) fn next_missing_worker(
        &mut self,
        acceptor: &mut Acceptor,
    ) -> Result<Option<MissingWorker>, ServeError> {
        loop {
            if self.children.is_stopping() || self.gave_up.is_some() || self.upgrade.is_done() {
                return Ok(None);
            }
            self.upgrade.begin(&mut self.children, acceptor, &self.config);
            self.begin_restart();
            let now = self.children.now();
            let missing = self.missing().min_by_key(|(due, _)| *due);
            match missing {
                Some((due, missing)) if due <= now => return Ok(Some(missing)),
                _ => {}
            }
            let recycle_due = self.next_recycle().map(|(due, _)| due);
            let due = missing.map(|(due, _)| due).into_iter().chain(recycle_due).min();
            for event in self.children.wait(due.map(|due| due.saturating_sub(now)))? {
                self.on_event(event);
                self.say_ready(acceptor);
            }
        }
    }

    /// Forks a missing worker; one that cannot be forked is tried again later.
    pub(crate) fn fork(&mut self, missing: MissingWorker) -> Result<Fork, ForkError> {
        let calls = self.config.max_requests.map(|calls| calls.drawn(chance()));
        let slot = &mut self.slots[missing.slot];
        match self.children.fork_worker(self.generation) {
            Ok(Fork::Parent(pid)) => {
                self.children.limit_boot(pid, self.config.timeouts.boot);
                let worker = Some(Worker::new(pid));
                match missing.is_next {
                    true => slot.next = worker,
                    false => slot.current = worker,
                }
                Ok(Fork::Parent(pid))
            }
            Ok(Fork::Child(mut child)) => {
                if self.config.pin_workers {
                    pin_to_processor(missing.slot);
                }
                if let Some(calls) = calls {
                    child = child.replaced_after(calls);
                }
                Ok(Fork::Child(child))
            }
            Err(error) => {
                slot.delay.after_failure(self.children.now(), chance());
                // What it lacks, the others of the restart have; and while it waits, no other
                // restart can begin.
                if missing.is_next {
                    self.call_off_restart(&format_args!("cannot be forked: {error}"));
                } else {
                    slot.failed_boots += 1;
                    let reason = with_causes(&error);
                    self.give_up_if_hopeless(&format_args!("failed before it was ready: {reason}"));
                }
                Err(error)
            }
        }
    }

    /// Blocks until all workers have ended: as [`Children::stop`], or, if a new server has taken
    /// over, as [`Children::drain`].
    pub(crate) fn stop(self, acceptor: Acceptor) -> Result<(), ServeError> {
        if self.upgrade.is_done() {
            return self.upgrade.finish(self.children, acceptor, &self.config);
        }
        let stopped = self.children.stop(acceptor);
        self.gave_up.map_or(stopped, |never_ready| Err(never_ready.into()))
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Signal(signal) => self.on_signal(signal),
            Event::Ready(pid) => self.note_ready(pid),
            Event::WantsReplacement(pid) => {
                if let Some(worker) = self.find(pid) {
                    worker.wants_replacement = true;
                }
            }
            Event::Stopped(pid) => {
                if let Some(worker) = self.find(pid) {
                    worker.is_stopped = true;
                    self.limit_standstill(pid);
                }
            }
            Event::Continued(pid) => {
                if let Some(worker) = self.find(pid) {
                    worker.is_stopped = false;
                }
                self.children.call_off(pid, StopReason::Hung);
            }
            Event::Exited(exit) => self.note_exit(&exit),
            _ => {}
        }
    }

    /// What the signals do to a master that do not stop it.
    fn on_signal(&mut self, signal: Signal) {
        match signal {
            Signal::SIGHUP => self.reload_is_wanted = true,
            Signal::SIGTTIN => self.add_slot(),
            Signal::SIGTTOU => self.remove_slot(),
            Signal::SIGUSR2 => self.upgrade.is_wanted = true,
            _ => {}
        }
    }

    fn find(&mut self, pid: i32) -> Option<&mut Worker> {
        let mut workers = self.slots.iter_mut().flat_map(WorkerSlot::workers_mut);
        workers.find(|worker| worker.pid == pid)
    }

    /// Where workers are missing, and when each may be forked.
    fn missing(&self) -> impl Iterator<Item = (Duration, MissingWorker)> {
        self.slots.iter().enumerate().filter_map(|(at, slot)| {
            let is_next = slot.current.is_some();
            let is_missing = !is_next || slot.is_restarting && slot.next.is_none();
            is_missing.then_some((slot.delay.until(), MissingWorker { slot: at, is_next }))
        })
    }

    fn note_ready(&mut self, pid: i32) {
        if self.upgrade.note_ready(pid) {
            return;
        }
        self.was_ever_ready = true;
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.has(pid)) {
            slot.failed_boots = 0;
        }
        if let Some(worker) = self.find(pid) {
            worker.is_ready = true;
            // It may have been stopped before its word arrived.
            if worker.is_stopped {
                self.limit_standstill(pid);
            }
        }
        self.finish_restart();
    }

    /// Once all slots have a worker that is ready, says so to the program and to the master before
    /// this one. That may also be because a slot was given up or restarted.
    fn say_ready(&mut self, acceptor: &mut Acceptor) {
        if !self.has_said_ready && self.slots.iter().all(WorkerSlot::is_ready) {
            self.has_said_ready = true;
            report_ready();
            acceptor.announce_accepting();
        }
    }

    /// A worker that somebody has stopped has a while until somebody must have let it go on.
    fn limit_standstill(&mut self, pid: i32) {
        let limit = self.config.timeouts.hung;
        if self.children.limit_standstill(pid, limit) {
            tracing::warn!(pid, ?limit, "worker is stopped");
        }
    }

    fn note_exit(&mut self, exit: &ChildExit) {
        if self.upgrade.note_exit(exit, &self.config) {
            return;
        }
        let now = self.children.now();
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.has(exit.pid)) else {
            self.retiring.retain(|&pid| pid != exit.pid);
            return;
        };
        let is_next = slot.next.take_if(|worker| worker.pid == exit.pid).is_some();
        if !is_next {
            slot.current = None;
        }
        // A deadline says something about a call and nothing about the worker.
        if exit.reason != ExitReason::Deadline {
            slot.delay.after_exit(now, exit.age, chance());
        }
        if !exit.was_ready {
            slot.failed_boots += 1;
        }
        if is_next && !exit.was_ready {
            self.call_off_restart(exit);
        }
        self.give_up_if_hopeless(exit);
    }

    fn give_up_if_hopeless(&mut self, reason: &dyn fmt::Display) {
        if !self.was_ever_ready && self.slots.iter().all(|slot| slot.failed_boots >= BOOT_ATTEMPTS)
        {
            self.gave_up = Some(NeverReady { reason: reason.to_string() });
        }
    }

    /// When the next worker that asked for its replacement may get it, and its slot; who was
    /// recycled last comes last. `None` also while something else must happen first.
    fn next_recycle(&self) -> Option<(Duration, usize)> {
        if self.restart.is_some() || self.reload_is_wanted || !self.may_retire(1) {
            return None;
        }
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(at, slot)| Some((slot.recycle_due()?, at))).min()
    }

    /// Whether there is room for `count` more workers that retire.
    fn may_retire(&self, count: usize) -> bool {
        self.retiring.len() + count <= self.slots.len()
    }

    fn retire(&mut self, worker: &Worker, why: StopReason) {
        self.children.retire(worker.pid, why, self.config.timeouts.drain);
        self.retiring.push(worker.pid);
    }

    fn begin_restart(&mut self) {
        if self.restart.is_some() {
            return;
        }
        if self.reload_is_wanted {
            if !self.may_retire(self.slots.len()) {
                if !std::mem::replace(&mut self.reload_wait_is_logged, true) {
                    let retiring = self.retiring.len();
                    tracing::info!(retiring, "reload waits until the retiring workers have ended");
                }
                return;
            }
            tracing::info!(workers = self.slots.len(), "reloading: starting new workers");
            notify(Notice::Reloading);
            self.reload_is_wanted = false;
            self.reload_wait_is_logged = false;
            self.restart = Some(RollingRestart::Reload);
            self.generation += 1;
            for slot in &mut self.slots {
                slot.is_restarting = true;
                slot.delay = RestartDelay::default();
            }
            return;
        }
        if let Some((due, slot)) = self.next_recycle()
            && due <= self.children.now()
        {
            self.restart = Some(RollingRestart::Recycle);
            self.slots[slot].is_restarting = true;
        }
    }

    /// Once every new worker is ready, lets them take over.
    fn finish_restart(&mut self) {
        let Some(restart) = self.restart else {
            return;
        };
        if self.slots.iter().any(|slot| slot.is_restarting && !slot.next_is_ready()) {
            return;
        }
        let why = match restart {
            RollingRestart::Reload => StopReason::Retire,
            RollingRestart::Recycle => StopReason::Recycle,
        };
        let rests_until = self.children.now() + RECYCLE_PAUSE;
        let mut replaced = Vec::new();
        for slot in self.slots.iter_mut().filter(|slot| slot.is_restarting) {
            slot.is_restarting = false;
            slot.rests_until = rests_until;
            replaced.extend(std::mem::replace(&mut slot.current, slot.next.take()));
        }
        for worker in &replaced {
            self.retire(worker, why);
        }
        self.restart = None;
        if restart == RollingRestart::Reload {
            tracing::info!(workers = self.slots.len(), "reloaded: new workers serve");
            notify(Notice::Ready);
        }
    }

    /// The old workers go on. One that asked for its replacement gets it later.
    fn call_off_restart(&mut self, reason: &dyn fmt::Display) {
        if self.restart == Some(RollingRestart::Reload) {
            tracing::error!("reload called off, the old workers go on: a new one {reason}");
            notify(Notice::Ready);
        }
        self.restart = None;
        let mut new = Vec::new();
        for slot in &mut self.slots {
            slot.is_restarting = false;
            new.extend(slot.next.take());
        }
        for worker in &new {
            self.retire(worker, StopReason::Retire);
        }
    }

    fn add_slot(&mut self) {
        if self.slots.len() < MAX_WORKERS {
            self.slots.push(WorkerSlot::default());
        }
        tracing::info!(workers = self.slots.len(), "one worker more");
    }

    fn remove_slot(&mut self) {
        if self.slots.len() > 1
            && let Some(slot) = self.slots.pop()
        {
            for worker in [slot.current, slot.next].into_iter().flatten() {
                self.retire(&worker, StopReason::Retire);
            }
            self.finish_restart();
        }
        tracing::info!(workers = self.slots.len(), "one worker less");
    }
}
