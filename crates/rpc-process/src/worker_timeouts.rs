//! How long a parent waits for its workers.

use std::time::Duration;

/// How long a parent waits for its workers.
#[derive(Clone, Copy, Debug)]
pub struct WorkerTimeouts {
    /// Until a new worker is ready. Then it is killed.
    pub boot: Duration,
    /// Until the connections of a worker that retires have ended by themselves.
    pub drain: Duration,
    /// Until somebody lets a stopped worker (SIGSTOP) go on. Then it is told to end.
    pub hung: Duration,
}

impl Default for WorkerTimeouts {
    /// 60 s to be ready, 30 s to drain, as Gunicorn's `graceful_timeout`, and 30 s of standstill,
    /// as Gunicorn's `timeout`.
    fn default() -> WorkerTimeouts {
        let seconds = Duration::from_secs;
        WorkerTimeouts { boot: seconds(60), drain: seconds(30), hung: seconds(30) }
    }
}
