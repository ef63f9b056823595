//! A worker slot: its current worker, and the next one during a restart.

use std::time::Duration;

use rpc_process::StopReason;

use crate::restart_delay::RestartDelay;

#[derive(Default)]
pub(crate) struct WorkerSlot {
    pub(crate) current: Option<Worker>,
    /// The worker that becomes the current one when the rolling restart is complete.
    pub(crate) next: Option<Worker>,
    /// Why the current worker is being replaced, if it is.
    pub(crate) restart: Option<StopReason>,
    pub(crate) delay: RestartDelay,
    /// The slot may not be recycled before this, by the master's clock.
    pub(crate) rests_until: Duration,
    pub(crate) failed_boots: u32,
}

/// What the master knows about a worker process.
#[derive(Default)]
pub(crate) struct Worker {
    pub(crate) pid: i32,
    pub(crate) is_ready: bool,
    /// Whether it has asked for a replacement. It asks once, perhaps before it is the current one.
    pub(crate) wants_replacement: bool,
}

impl WorkerSlot {
    pub(crate) fn workers(&self) -> impl Iterator<Item = &Worker> {
        [&self.current, &self.next].into_iter().flatten()
    }

    pub(crate) fn find(&mut self, pid: i32) -> Option<&mut Worker> {
        let mut workers = [&mut self.current, &mut self.next].into_iter().flatten();
        workers.find(|worker| worker.pid == pid)
    }

    /// Whether the current worker is missing, or the next one during a restart.
    pub(crate) fn lacks_worker(&self) -> bool {
        self.current.is_none() || self.restart.is_some() && self.next.is_none()
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.current.as_ref().is_some_and(|worker| worker.is_ready)
    }

    pub(crate) fn next_is_ready(&self) -> bool {
        self.next.as_ref().is_some_and(|worker| worker.is_ready)
    }

    /// When the current worker may be recycled, if it has asked for a replacement.
    pub(crate) fn recycle_due(&self) -> Option<Duration> {
        let worker = self.current.as_ref().filter(|worker| worker.wants_replacement);
        worker.map(|_| self.delay.until.max(self.rests_until))
    }
}
