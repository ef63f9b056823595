//! The workers of a server. Each has an entry in the shared memory of the scoreboard, so that
//! `rpc.stats` shows it even while it serves no connection.
//!
//! Only the master assigns and frees entries. In between, the worker and its master write to the
//! entry, one field at a time: a reader may see some fields before a change and some after it, but
//! never has to wait.

use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use rpc_proto::stats::{WorkerState, WorkerStats};

use crate::scoreboard::table::Scoreboard;
use crate::sys::pid::own_pid;

/// Enough for a reload of 1,024 workers, which has twice as many at a time. Workers beyond this
/// limit are not shown.
const MAX_WORKERS: usize = 2048;

/// All zeroes is a valid value: no workers.
#[repr(C)]
pub(crate) struct Workers {
    /// Entries from this index on were never used.
    used: AtomicUsize,
    entries: [Entry; MAX_WORKERS],
}

#[repr(C, align(64))]
pub(crate) struct Entry {
    /// One of the four states below.
    state: AtomicU32,
    /// 0 until the fork has returned on one of its sides.
    pid: AtomicI32,
    generation: AtomicU32,
    /// When the worker was forked, in milliseconds since the scoreboard was created.
    forked_at_ms: AtomicU64,
    /// Requests on connections that have ended.
    calls: AtomicU64,
}

const FREE: u32 = 0;
const STARTING: u32 = 1;
const READY: u32 = 2;
const RETIRING: u32 = 3;

impl Scoreboard {
    /// How long ago the scoreboard was created, in milliseconds.
    pub(crate) fn age_ms(&self) -> u64 {
        u64::try_from(self.created_at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Called in a new child: sets its entry, if it is a worker.
    pub(crate) fn become_worker(&self, index: Option<usize>) {
        self.own_worker.store(index.map_or(0, |index| index + 1), Ordering::Relaxed);
        if let Some(worker) = self.own_worker() {
            worker.set_pid(own_pid());
        }
    }

    /// The entry of this process, if it is a worker.
    pub(crate) fn own_worker(&self) -> Option<&Entry> {
        let index = self.own_worker.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.workers().at(index))
    }
}

impl Workers {
    /// Called in the master before a fork: assigns an entry to the new worker. `None` when there
    /// are too many workers to show.
    pub(crate) fn reserve(&self, generation: u32, now_ms: u64) -> Option<usize> {
        let is_free = |entry: &Entry| entry.state.load(Ordering::Relaxed) == FREE;
        let index = self.entries.iter().position(is_free)?;
        let entry = self.at(index);
        entry.pid.store(0, Ordering::Relaxed);
        entry.generation.store(generation, Ordering::Relaxed);
        entry.forked_at_ms.store(now_ms, Ordering::Relaxed);
        entry.calls.store(0, Ordering::Relaxed);
        entry.state.store(STARTING, Ordering::Release);
        self.used.fetch_max(index + 1, Ordering::Release);
        Some(index)
    }

    pub(crate) fn at(&self, index: usize) -> &Entry {
        &self.entries[index]
    }

    pub(crate) fn find(&self, pid: i32) -> Option<&Entry> {
        self.used().iter().find(|entry| entry.has_pid(pid))
    }

    /// All workers that have a process id, without their open connections.
    pub(crate) fn snapshot(&self, now_ms: u64) -> Vec<WorkerStats> {
        self.used().iter().filter_map(|entry| entry.snapshot(now_ms)).collect()
    }

    fn used(&self) -> &[Entry] {
        &self.entries[..self.used.load(Ordering::Acquire).min(MAX_WORKERS)]
    }
}

impl Entry {
    fn has_pid(&self, pid: i32) -> bool {
        self.state.load(Ordering::Relaxed) != FREE && self.pid.load(Ordering::Relaxed) == pid
    }

    /// Called on both sides of the fork, since either may run first.
    pub(crate) fn set_pid(&self, pid: i32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// Called by the worker when it is ready. Has no effect if the master has retired it meanwhile.
    pub(crate) fn mark_ready(&self) {
        let (success, failure) = (Ordering::Relaxed, Ordering::Relaxed);
        let _ = self.state.compare_exchange(STARTING, READY, success, failure);
    }

    /// Called by the worker when a connection has ended.
    pub(crate) fn add_calls(&self, calls: u64) {
        self.calls.fetch_add(calls, Ordering::Relaxed);
    }

    /// Called by the master when it retires the worker.
    pub(crate) fn mark_retiring(&self) {
        self.state.store(RETIRING, Ordering::Relaxed);
    }

    /// Called by the master when the worker was reaped or could not be forked.
    pub(crate) fn free(&self) {
        self.state.store(FREE, Ordering::Relaxed);
    }

    fn snapshot(&self, now_ms: u64) -> Option<WorkerStats> {
        let state = self.state.load(Ordering::Acquire);
        let pid = self.pid.load(Ordering::Relaxed);
        let forked_at_ms = self.forked_at_ms.load(Ordering::Relaxed);
        (pid != 0 && state != FREE).then(|| {
            let mut stats = WorkerStats::default();
            stats.pid = pid;
            stats.generation = self.generation.load(Ordering::Relaxed);
            stats.state = match state {
                STARTING => WorkerState::Starting,
                READY => WorkerState::Ready,
                _ => WorkerState::Retiring,
            };
            stats.age_ms = now_ms.saturating_sub(forked_at_ms);
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
        let found = workers.snapshot(1000).into_iter();
        let found = found.map(|worker| (worker.pid, worker.generation, worker.state, worker.calls));
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_entry_follows_its_worker() {
        use WorkerState::{Ready, Retiring, Starting};
        let scoreboard = Scoreboard::new().expect("memory");
        let workers = scoreboard.workers();
        let first = workers.reserve(1, 400).expect("room");
        check(workers, &[]);
        workers.at(first).set_pid(11);
        check(workers, &[(11, 1, Starting, 0)]);
        assert_eq!(workers.snapshot(1000)[0].age_ms, 600);
        workers.at(first).mark_ready();
        workers.at(first).add_calls(7);
        let second = workers.reserve(2, 500).expect("room");
        workers.at(second).set_pid(12);
        check(workers, &[(11, 1, Ready, 7), (12, 2, Starting, 0)]);

        workers.find(11).unwrap().mark_retiring();
        workers.at(first).mark_ready();
        assert!(workers.find(13).is_none());
        check(workers, &[(11, 1, Retiring, 7), (12, 2, Starting, 0)]);

        workers.find(11).unwrap().free();
        check(workers, &[(12, 2, Starting, 0)]);
        assert_eq!(workers.reserve(3, 600), Some(first), "a free entry is used again");
        workers.at(first).set_pid(13);
        check(workers, &[(13, 3, Starting, 0), (12, 2, Starting, 0)]);
        workers.at(first).free();
        check(workers, &[(12, 2, Starting, 0)]);
    }

    #[test]
    fn a_worker_beyond_the_limit_gets_no_entry() {
        let scoreboard = Scoreboard::new().expect("memory");
        for _ in 0..MAX_WORKERS {
            assert!(scoreboard.workers().reserve(1, 0).is_some());
        }
        assert_eq!(scoreboard.workers().reserve(1, 0), None);
        scoreboard.become_worker(None);
        assert!(scoreboard.own_worker().is_none());
    }
}
