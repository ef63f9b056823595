//! The options of this model.

use std::thread;
use std::time::Duration;

use rpc_daemon::PidFile;
use rpc_process::WorkerTimeouts;

/// The options of this model.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) workers: usize,
    pub(crate) timeouts: WorkerTimeouts,
    pub(crate) max_requests: Option<u64>,
    pub(crate) jitter: f64,
    pub(crate) pin_workers: bool,
    pub(crate) pid_file: Option<PidFile>,
}

impl Config {
    /// The defaults: twice as many workers as processors, plus one, which is Gunicorn's rule of
    /// thumb for workers that also wait for their peers. Each option below states its default.
    pub fn new() -> Config {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Config {
            workers: 2 * processors + 1,
            timeouts: WorkerTimeouts::default(),
            max_requests: None,
            jitter: 0.1,
            pin_workers: false,
            pid_file: None,
        }
    }

    /// How many workers there are, at least one; default: twice the number of processors, plus one.
    /// SIGTTIN adds a worker while the server runs, SIGTTOU removes one.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Config {
        self.workers = workers.max(1);
        self
    }

    /// How long a new worker may take until it accepts; default: 60 s. After that it gets SIGALRM,
    /// which ends it, and SIGKILL 1 s later; then another one is tried.
    #[must_use]
    pub fn boot_timeout(mut self, timeout: Duration) -> Config {
        self.timeouts.boot = timeout;
        self
    }

    /// How long the connections of a replaced worker may continue; default: 30 s. After that they
    /// are closed between two calls, and a call that still runs 1 s later is answered with -32002.
    #[must_use]
    pub fn drain(mut self, time: Duration) -> Config {
        self.timeouts.drain = time;
        self
    }

    /// How long a worker may stay stopped (SIGSTOP); default: 30 s. After that it gets SIGTERM, and
    /// SIGKILL 2 s later if it has not ended. The master notices stopped workers only if the
    /// acceptor stops on signals.
    #[must_use]
    pub fn hung_after(mut self, time: Duration) -> Config {
        self.timeouts.hung = time;
        self
    }

    /// Replaces a worker after it has served this number of calls; default: never. For handlers
    /// that leak. Each worker serves up to a tenth more, drawn at random, so that not all workers
    /// are replaced at once.
    ///
    /// The worker accepts until its replacement is ready, and one worker is replaced at a time. It
    /// then serves its connections until they end, for at most the [drain time](Config::drain).
    ///
    /// At most as many replaced workers drain at the same time as there are workers, so there are
    /// never more than twice as many processes, and a worker slot is recycled at most once per
    /// second. A worker that cannot be replaced yet serves on, beyond its number of calls.
    #[must_use]
    pub fn max_requests(mut self, calls: u64) -> Config {
        self.max_requests = Some(calls.max(1));
        self
    }

    /// Like [`max_requests`](Config::max_requests), but each worker serves up to `jitter` times
    /// `calls` more; default: 0.1.
    #[must_use]
    pub fn max_requests_with_jitter(self, calls: u64, jitter: f64) -> Config {
        Config { jitter, ..self.max_requests(calls) }
    }

    /// Whether each worker is pinned to one processor (sched_setaffinity(2)), in turn to one of
    /// those that this process may use; default: no. Its threads and children inherit this.
    #[must_use]
    pub fn pin_workers(mut self, pin: bool) -> Config {
        self.pin_workers = pin;
        self
    }

    /// The pidfile that this process holds; default: none. During an upgrade (SIGUSR2) the new
    /// server needs its name, so the file is renamed to `….oldbin` until this process ends. If the
    /// new server fails, it is renamed back.
    #[must_use]
    pub fn pid_file(mut self, pid_file: &PidFile) -> Config {
        self.pid_file = Some(pid_file.clone());
        self
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}
