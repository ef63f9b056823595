//! What happened to a server and its clients, counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many failures are told. The first is the one that matters.
const TOLD: usize = 3;

/// Shared by all clients of one server.
#[derive(Default)]
pub(crate) struct Results {
    /// Good calls with the right reply.
    pub(crate) good: Count,
    /// Good calls that were refused as they should be.
    pub(crate) refused: Count,
    /// Connections that ended with their process, each with one call or batch of calls.
    pub(crate) cut: Count,
    /// Calls that the machine held up for longer than the server waits.
    pub(crate) slow: Count,
    /// Things that bad clients did.
    pub(crate) bad: Count,
    pub(crate) kills: Count,
    pub(crate) crashes: Count,
    pub(crate) reloads: Count,
    /// Connections of floods that were refused.
    pub(crate) flooded: Count,
    slowest_nanos: AtomicU64,
    failures: Mutex<Vec<String>>,
    has_failed: Condvar,
}

#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Results {
    pub(crate) fn good(&self, took: Duration) {
        self.good.add(1);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.slowest_nanos.fetch_max(nanos, Relaxed);
    }

    pub(crate) fn slowest(&self) -> Duration {
        Duration::from_nanos(self.slowest_nanos.load(Relaxed))
    }

    /// Something is not as it should be, which ends the run.
    pub(crate) fn fail(&self, what: String) {
        let mut failures = self.lock();
        if failures.len() < TOLD {
            failures.push(what);
        }
        self.has_failed.notify_all();
    }

    /// Returns when the run has failed, at the latest after `time`.
    pub(crate) fn await_failure(&self, time: Duration) {
        let failed = &self.has_failed;
        drop(failed.wait_timeout_while(self.lock(), time, |failures| failures.is_empty()));
    }

    pub(crate) fn has_failed(&self) -> bool {
        !self.lock().is_empty()
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
