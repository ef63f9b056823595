//! The time limits of workers.

use std::time::Duration;

/// How long a parent waits for its workers.
#[derive(Clone, Copy, Debug)]
pub struct WorkerTimeouts {
    /// Until a new worker is ready. After that it is made to end. Default: 60 s.
    pub boot: Duration,
    /// Until the connections of a worker that retires have ended. After that they are closed
    /// between two calls. Default: 30 s, as Gunicorn's `graceful_timeout`.
    pub drain: Duration,
    /// Until a stopped worker (SIGSTOP) is continued. After that it is made to end. Default: 30 s,
    /// as Gunicorn's `timeout`.
    pub hung: Duration,
}

impl Default for WorkerTimeouts {
    fn default() -> WorkerTimeouts {
        let seconds = Duration::from_secs;
        WorkerTimeouts { boot: seconds(60), drain: seconds(30), hung: seconds(30) }
    }
}
