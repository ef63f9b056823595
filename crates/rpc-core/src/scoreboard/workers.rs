//! The workers of a server, each with an entry in the shared memory of the scoreboard, so that it
//! can be seen even while it serves nobody.
//!
//! The master alone gives out entries and takes them back. In between, the worker and its master
//! write to it, each field by itself: a reader may see a mixture of before and after, and nothing
//! that it would have to wait for.

use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use rpc_proto::stats::{WorkerState, WorkerStats};

use crate::scoreboard::table::Scoreboard;
use crate::sys::pid::own_pid;

/// Twice as many as a reload of 1,024 workers has at a time. Who comes beyond is not shown.
const MAX_WORKERS: usize = 2048;

/// All zeroes is a valid value: nobody is there.
#[repr(C)]
pub(crate) struct Workers {
    /// Entries from here on were never used.
    used: AtomicUsize,
    entries: [Entry; MAX_WORKERS],
}

#[repr(C, align(64))]
struct Entry {
    /// A number of [`STATES`] plus one, 0 when the entry is free.
    state: AtomicU32,
    /// 0 until the fork has returned on one of its sides.
    pid: AtomicI32,
    generation: AtomicU32,
    /// When it was forked, in milliseconds since the server was born.
    born_ms: AtomicU64,
    /// Requests of the connections that it has served to their end.
    calls: AtomicU64,
}

impl Scoreboard {
    /// How long ago the scoreboard was made, in milliseconds.
    pub(crate) fn age_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Before a fork: an entry for the worker to come; `None` when there are too many to show.
    pub(crate) fn expect_worker(&self, generation: u32) -> Option<usize> {
        self.workers().expect(generation, self.age_ms())
    }

    /// In a new child: this is its entry.
    pub(crate) fn become_worker(&self, entry: Option<usize>) {
        self.own_worker.store(entry.map_or(0, |entry| entry + 1), Ordering::Relaxed);
        if let Some(entry) = entry {
            self.workers().name(entry, own_pid());
        }
    }

    /// If this process is a worker, it is ready.
    pub(crate) fn say_worker_is_ready(&self) {
        if let Some(entry) = self.own_worker() {
            self.workers().become_ready(entry);
        }
    }

    /// A connection of this process has ended, after so many calls.
    pub(crate) fn add_calls_of_worker(&self, calls: u64) {
        if let Some(entry) = self.own_worker() {
            self.workers().add_calls(entry, calls);
        }
    }

    fn own_worker(&self) -> Option<usize> {
        self.own_worker.load(Ordering::Relaxed).checked_sub(1)
    }
}

const STATES: [WorkerState; 3] = [WorkerState::Starting, WorkerState::Ready, WorkerState::Retiring];

fn number_of(state: WorkerState) -> u32 {
    let at = STATES.iter().position(|&known| known == state);
    at.map_or(0, |at| at as u32 + 1)
}

impl Workers {
    /// In the master, before it forks. `None` when there are too many.
    pub(crate) fn expect(&self, generation: u32, now_ms: u64) -> Option<usize> {
        let is_free = |entry: &Entry| entry.state.load(Ordering::Relaxed) == 0;
        let index = self.entries.iter().position(is_free)?;
        let entry = &self.entries[index];
        entry.pid.store(0, Ordering::Relaxed);
        entry.generation.store(generation, Ordering::Relaxed);
        entry.born_ms.store(now_ms, Ordering::Relaxed);
        entry.calls.store(0, Ordering::Relaxed);
        entry.state.store(number_of(WorkerState::Starting), Ordering::Release);
        self.used.fetch_max(index + 1, Ordering::Release);
        Some(index)
    }

    /// On both sides of the fork, whichever is first.
    pub(crate) fn name(&self, index: usize, pid: i32) {
        self.entries[index].pid.store(pid, Ordering::Relaxed);
    }

    /// By the worker itself: it is ready, if nobody has told it to retire meanwhile.
    pub(crate) fn become_ready(&self, index: usize) {
        let from = number_of(WorkerState::Starting);
        let to = number_of(WorkerState::Ready);
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let _ = self.entries[index].state.compare_exchange(from, to, success, failure);
    }

    /// By the worker itself, when a connection has ended.
    pub(crate) fn add_calls(&self, index: usize, calls: u64) {
        self.entries[index].calls.fetch_add(calls, Ordering::Relaxed);
    }

    /// By the master.
    pub(crate) fn set_state(&self, pid: i32, state: WorkerState) {
        if let Some(entry) = self.used().iter().find(|entry| entry.is(pid)) {
            entry.state.store(number_of(state), Ordering::Relaxed);
        }
    }

    /// By the master, when the worker was reaped.
    pub(crate) fn forget(&self, pid: i32) {
        if let Some(entry) = self.used().iter().find(|entry| entry.is(pid)) {
            entry.state.store(0, Ordering::Relaxed);
        }
    }

    /// By the master, when it could not fork.
    pub(crate) fn cancel(&self, index: usize) {
        self.entries[index].state.store(0, Ordering::Relaxed);
    }

    /// Everybody who has a process id, without their open connections.
    pub(crate) fn look(&self, now_ms: u64) -> Vec<WorkerStats> {
        self.used().iter().filter_map(|entry| entry.look(now_ms)).collect()
    }

    fn used(&self) -> &[Entry] {
        &self.entries[..self.used.load(Ordering::Acquire).min(MAX_WORKERS)]
    }
}

impl Entry {
    fn is(&self, pid: i32) -> bool {
        self.state.load(Ordering::Relaxed) != 0 && self.pid.load(Ordering::Relaxed) == pid
    }

    fn look(&self, now_ms: u64) -> Option<WorkerStats> {
        let state = self.state.load(Ordering::Acquire).checked_sub(1)?;
        let pid = self.pid.load(Ordering::Relaxed);
        let born_ms = self.born_ms.load(Ordering::Relaxed);
        (pid != 0).then(|| {
            let mut stats = WorkerStats::default();
            stats.pid = pid;
            stats.generation = self.generation.load(Ordering::Relaxed);
            stats.state = STATES.get(state as usize).copied().unwrap_or(WorkerState::Unknown);
            stats.age_ms = now_ms.saturating_sub(born_ms);
            stats.calls = self.calls.load(Ordering::Relaxed);
            stats
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(workers: &Workers, expected: &[(i32, u32, WorkerState, u64)]) {
        let found = workers.look(1000).into_iter();
        let found = found.map(|worker| (worker.pid, worker.generation, worker.state, worker.calls));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_entry_follows_its_worker() {
        use WorkerState::{Ready, Retiring, Starting};
        let scoreboard = Scoreboard::new().expect("memory");
        let workers = scoreboard.workers();
        let first = workers.expect(1, 400).expect("room");
        check(workers, &[]);
        workers.name(first, 11);
        check(workers, &[(11, 1, Starting, 0)]);
        assert_eq!(workers.look(1000)[0].age_ms, 600);
        workers.become_ready(first);
        workers.add_calls(first, 7);
        let second = workers.expect(2, 500).expect("room");
        workers.name(second, 12);
        check(workers, &[(11, 1, Ready, 7), (12, 2, Starting, 0)]);

        workers.set_state(11, Retiring);
        workers.become_ready(first);
        workers.set_state(13, Retiring);
        check(workers, &[(11, 1, Retiring, 7), (12, 2, Starting, 0)]);

        workers.forget(11);
        workers.forget(13);
        check(workers, &[(12, 2, Starting, 0)]);
        assert_eq!(workers.expect(3, 600), Some(first), "a free entry is used again");
        workers.name(first, 13);
        check(workers, &[(13, 3, Starting, 0), (12, 2, Starting, 0)]);
        workers.cancel(first);
        check(workers, &[(12, 2, Starting, 0)]);
    }

    #[test]
    fn whoever_has_no_entry_is_not_shown() {
        let scoreboard = Scoreboard::new().expect("memory");
        for _ in 0..MAX_WORKERS {
            assert!(scoreboard.expect_worker(1).is_some());
        }
        assert_eq!(scoreboard.expect_worker(1), None);
        scoreboard.become_worker(None);
        assert_eq!(scoreboard.own_worker(), None);
    }
}
