//! The master's state: the worker slots, their current workers, and the next ones during a restart.
//!
//! ```text
//!   slot:  empty ──fork──▶ current (boots ──ready──▶ serves) ──ends──▶ empty, after a delay
//!                            │ reload, or it asked for a replacement
//!                            ▼
//!                          next (boots ──ready──▶ serves beside current)
//!                            │ every next worker of the rolling restart is ready
//!                            ▼
//!                          next becomes current, and current retires: it leaves the slot
//! ```
//!
//! Peers can make workers retire (by calls that are counted), and can keep them alive (by open
//! connections). Therefore at most as many workers retire at a time as there are slots, and a
//! rolling restart begins only when the workers that it will retire fit within that limit. So there
//! are never more workers than twice the slots, the next ones included, unless SIGTTOU has removed
//! slots.
//!
//! [`Children`] reports signals, exits and what children say; this file decides what follows.

use std::fmt;
use std::mem;
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

/// The signals that a master reads, apart from those that stop it. SIGCHLD reports stopped workers.
const SIGNALS: [Signal; 5] =
    [Signal::SIGHUP, Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGUSR2, Signal::SIGCHLD];

/// SIGTTIN adds no more workers than this: each is a process, so more would be a mistake.
const MAX_WORKERS: usize = 1024;

/// When every slot has failed this often and no worker was ever ready, the server gives up.
const BOOT_ATTEMPTS: u32 = 5;

/// A slot is recycled no sooner than this after its last replacement took over, whatever peers do.
const RECYCLE_PAUSE: Duration = Duration::from_secs(1);

pub(crate) struct Supervisor {
    children: Children,
    config: Config,
    slots: Vec<WorkerSlot>,
    /// Counts the reloads, from 1.
    generation: u32,
    /// Whether a reload is wanted that has not begun. Several requests cause one reload.
    reload_is_wanted: bool,
    /// Whether the log already says that the reload waits for retiring workers.
    reload_wait_is_logged: bool,
    was_ever_ready: bool,
    /// Whether readiness was announced, after all workers were ready for the first time.
    has_said_ready: bool,
    gave_up: Option<NeverReady>,
    upgrade: Upgrade,
}

impl Supervisor {
    pub(crate) fn new(acceptor: &mut Acceptor, config: Config) -> Result<Supervisor, ServeError> {
        let children = Children::of_workers(acceptor, &SIGNALS, config.timeouts)?;
        acceptor.share_with_workers()?;
        Ok(Supervisor {
            children,
            slots: (0..config.workers).map(|_| WorkerSlot::default()).collect(),
            upgrade: Upgrade { pid_file: config.pid_file.clone(), ..Upgrade::default() },
            config,
            generation: 1,
            reload_is_wanted: false,
            reload_wait_is_logged: false,
            was_ever_ready: false,
            has_said_ready: false,
            gave_up: None,
        })
    }

    /// Blocks until a worker is missing and may be forked; returns the number of its slot. `None`
    /// when the server stops or gives up, or when a new server has taken over.
    pub(crate) fn next_missing_worker(
        &mut self,
        acceptor: &mut Acceptor,
    ) -> Result<Option<usize>, ServeError> {
        loop {
            if self.children.is_stopping() || self.gave_up.is_some() || self.upgrade.is_done {
                return Ok(None);
            }
            self.upgrade.begin(&mut self.children, acceptor);
            self.begin_restart();
            let now = self.children.now();
            let slots = self.slots.iter().enumerate().filter(|(_, slot)| slot.lacks_worker());
            let missing = slots.map(|(number, slot)| (slot.delay.until, number)).min();
            if let Some((_, number)) = missing.filter(|(due, _)| *due <= now) {
                return Ok(Some(number));
            }
            let due = missing.into_iter().chain(self.next_recycle()).map(|(due, _)| due).min();
            for event in self.children.wait(due.map(|due| due.saturating_sub(now)))? {
                self.on_event(event);
                self.say_ready(acceptor);
            }
        }
    }

    /// Forks the worker that slot `number` lacks. If the fork fails, the slot's delay grows.
    pub(crate) fn fork(&mut self, number: usize) -> Result<Fork, ForkError> {
        let more =
            self.config.max_requests.map(|calls| calls as f64 * self.config.jitter * chance());
        let slot = &mut self.slots[number];
        let is_next = slot.current.is_some();
        match self.children.fork_worker(self.generation) {
            Ok(Fork::Parent(pid)) => {
                let worker = if is_next { &mut slot.next } else { &mut slot.current };
                *worker = Some(Worker { pid, ..Worker::default() });
                Ok(Fork::Parent(pid))
            }
            Ok(Fork::Child(child)) => {
                if self.config.pin_workers {
                    pin_to_processor(number);
                }
                if let (Some(calls), Some(more)) = (self.config.max_requests, more) {
                    child.replaced_after(calls.saturating_add(more as u64));
                }
                Ok(Fork::Child(child))
            }
            Err(error) => {
                slot.delay.after_exit(self.children.now(), Duration::ZERO, chance());
                let reason = format!("cannot be forked: {}", with_causes(&error));
                self.note_failure(number, is_next, &reason);
                Err(error)
            }
        }
    }

    /// Blocks until all workers have ended, like [`Children::stop`], or like [`Children::drain`] if
    /// a new server has taken over.
    pub(crate) fn stop(self, acceptor: Acceptor) -> Result<(), ServeError> {
        if self.upgrade.is_done {
            return self.upgrade.finish(self.children, acceptor);
        }
        let stopped = self.children.stop(acceptor);
        self.gave_up.map_or(stopped, |never_ready| Err(never_ready.into()))
    }

    /// Handles the events of children, and each signal that does not stop the master.
    fn on_event(&mut self, event: Event) {
        match event {
            Event::Signal(Signal::SIGHUP) => self.reload_is_wanted = true,
            Event::Signal(Signal::SIGTTIN) => self.add_slot(),
            Event::Signal(Signal::SIGTTOU) => self.remove_slot(),
            Event::Signal(Signal::SIGUSR2) => self.upgrade.is_wanted = true,
            Event::Ready(pid) if self.upgrade.new_server == Some(pid) => self.upgrade.complete(pid),
            Event::Ready(pid) => self.note_ready(pid),
            Event::WantsReplacement(pid) => {
                if let Some(worker) = self.find(pid) {
                    worker.wants_replacement = true;
                }
            }
            Event::Exited(exit) if self.upgrade.new_server == Some(exit.pid) => {
                self.upgrade.call_off(&exit);
            }
            Event::Exited(exit) => self.note_exit(&exit),
            _ => {}
        }
    }

    fn find(&mut self, pid: i32) -> Option<&mut Worker> {
        self.slots.iter_mut().find_map(|slot| slot.find(pid))
    }

    fn note_ready(&mut self, pid: i32) {
        self.was_ever_ready = true;
        if let Some(worker) = self.find(pid) {
            worker.is_ready = true;
        }
        self.finish_restart();
    }

    /// Announces readiness once, when the workers of all slots are ready: to the program's hook,
    /// and to the server that this one replaces. Checked after every event, because removing a slot
    /// or completing a restart can make it true as well.
    fn say_ready(&mut self, acceptor: &mut Acceptor) {
        if !self.has_said_ready && self.slots.iter().all(WorkerSlot::is_ready) {
            self.has_said_ready = true;
            report_ready();
            acceptor.announce_accepting();
        }
    }

    fn note_exit(&mut self, exit: &ChildExit) {
        let now = self.children.now();
        let has_it = |slot: &WorkerSlot| slot.workers().any(|worker| worker.pid == exit.pid);
        let Some(number) = self.slots.iter().position(has_it) else {
            // It had retired.
            return;
        };
        let slot = &mut self.slots[number];
        let is_next = slot.next.take_if(|worker| worker.pid == exit.pid).is_some();
        if !is_next {
            slot.current = None;
        }
        // An exit because of a deadline is no sign of an unhealthy worker.
        if exit.reason != ExitReason::Deadline {
            slot.delay.after_exit(now, exit.age, chance());
        }
        if !exit.was_ready {
            self.note_failure(number, is_next, exit);
        }
    }

    /// Records that a new worker of slot `number` failed before it was ready. A restart is called
    /// off: its other new workers would probably fail too, and waiting would block later restarts.
    fn note_failure(&mut self, number: usize, is_next: bool, reason: &dyn fmt::Display) {
        if is_next {
            self.call_off_restart(reason);
        }
        self.slots[number].failed_boots += 1;
        if !self.was_ever_ready && self.slots.iter().all(|slot| slot.failed_boots >= BOOT_ATTEMPTS)
        {
            self.gave_up = Some(NeverReady { reason: reason.to_string() });
        }
    }

    /// When the next worker that has asked for a replacement may get it, and the number of its
    /// slot; the slot that was recycled last comes last. `None` also during a restart, before a
    /// reload, and while too many workers retire.
    fn next_recycle(&self) -> Option<(Duration, usize)> {
        if self.is_restarting() || self.reload_is_wanted || !self.may_retire(1) {
            return None;
        }
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(number, slot)| Some((slot.recycle_due()?, number))).min()
    }

    /// How many workers retire and have not ended yet. They are no longer in a slot.
    fn retiring(&self) -> usize {
        let workers = self.slots.iter().flat_map(WorkerSlot::workers).count();
        self.children.len() - workers - usize::from(self.upgrade.new_server.is_some())
    }

    /// Whether `count` more workers may retire.
    fn may_retire(&self, count: usize) -> bool {
        self.retiring() + count <= self.slots.len()
    }

    /// Whether running workers are being replaced: all of them, or one that has asked for it.
    fn is_restarting(&self) -> bool {
        self.slots.iter().any(|slot| slot.restart.is_some())
    }

    fn begin_restart(&mut self) {
        if let Some((due, number)) = self.next_recycle()
            && due <= self.children.now()
        {
            self.slots[number].restart = Some(StopReason::Recycle);
        } else if self.reload_is_wanted && !self.is_restarting() {
            self.begin_reload();
        }
    }

    fn begin_reload(&mut self) {
        if !self.may_retire(self.slots.len()) {
            if !mem::replace(&mut self.reload_wait_is_logged, true) {
                let retiring = self.retiring();
                tracing::info!(retiring, "reload waits until the retiring workers have ended");
            }
            return;
        }
        tracing::info!(workers = self.slots.len(), "reloading: starting new workers");
        notify(Notice::Reloading);
        self.reload_is_wanted = false;
        self.reload_wait_is_logged = false;
        self.generation += 1;
        for slot in &mut self.slots {
            slot.restart = Some(StopReason::Retire);
            slot.delay = RestartDelay::default();
        }
    }

    /// If every next worker is ready, makes them the current ones and retires the old ones.
    fn finish_restart(&mut self) {
        if self.slots.iter().any(|slot| slot.restart.is_some() && !slot.next_is_ready()) {
            return;
        }
        let mut is_reload = false;
        for slot in &mut self.slots {
            let Some(why) = slot.restart.take() else {
                continue;
            };
            is_reload |= why == StopReason::Retire;
            slot.rests_until = self.children.now() + RECYCLE_PAUSE;
            if let Some(worker) = mem::replace(&mut slot.current, slot.next.take()) {
                self.children.retire(worker.pid, why);
            }
        }
        if is_reload {
            tracing::info!(workers = self.slots.len(), "reloaded: new workers serve");
            self.end_reload_notice();
        }
    }

    /// Before the server was ready for the first time, [`say_ready`](Supervisor::say_ready) does it.
    fn end_reload_notice(&self) {
        if self.has_said_ready {
            notify(Notice::Ready);
        }
    }

    /// Retires the next workers; the old ones continue. A worker that has asked for a replacement
    /// gets it later.
    fn call_off_restart(&mut self, reason: &dyn fmt::Display) {
        if self.slots.iter().any(|slot| slot.restart == Some(StopReason::Retire)) {
            tracing::error!("reload called off, the old workers continue: a new one {reason}");
            self.end_reload_notice();
        }
        for slot in &mut self.slots {
            slot.restart = None;
            if let Some(worker) = slot.next.take() {
                self.children.retire(worker.pid, StopReason::Retire);
            }
        }
    }

    fn add_slot(&mut self) {
        if self.slots.len() < MAX_WORKERS {
            self.slots.push(WorkerSlot::default());
        }
        tracing::info!(workers = self.slots.len(), "one more worker");
    }

    fn remove_slot(&mut self) {
        if self.slots.len() > 1
            && let Some(slot) = self.slots.pop()
        {
            for worker in slot.workers() {
                self.children.retire(worker.pid, StopReason::Retire);
            }
            self.finish_restart();
        }
        tracing::info!(workers = self.slots.len(), "one fewer worker");
    }
}
