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
    /// Twice as many workers as there are processors, and one: Gunicorn's rule of thumb for
    /// workers that also wait for their peers.
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

    /// How many workers there are, at least one. SIGTTIN and SIGTTOU change it while the server
    /// runs.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Config {
        self.workers = workers.max(1);
        self
    }

    /// How long a new worker may take until it accepts; 60 s unless told. Then it is killed, and
    /// another is tried.
    #[must_use]
    pub fn boot_timeout(mut self, timeout: Duration) -> Config {
        self.timeouts.boot = timeout;
        self
    }

    /// How long the connections of a worker that was replaced may go on; 30 s unless told. Then
    /// they are closed between two calls, and a call that is not done a second later is answered
    /// with -32002.
    #[must_use]
    pub fn drain(mut self, time: Duration) -> Config {
        self.timeouts.drain = time;
        self
    }

    /// How long a worker may stand still that somebody stopped (SIGSTOP); 30 s unless told. Then
    /// it is told to end, and killed two seconds later if it does not. Noticed only if the
    /// acceptor stops on signals.
    #[must_use]
    pub fn hung_after(mut self, time: Duration) -> Config {
        self.timeouts.hung = time;
        self
    }

    /// Replaces a worker once it has served so many calls, and up to a tenth more, drawn for each
    /// worker so that they do not come all at once; no bound unless told. For handlers that leak.
    ///
    /// The worker accepts until its replacement is ready, and one is replaced at a time. Then it
    /// serves the connections that it has until they end, at most for the
    /// [drain time](Config::drain).
    ///
    /// At most as many replaced workers drain at the same time as there are workers, so there are
    /// never more than twice as many processes, and the same worker slot is recycled at most once a
    /// second. Until a worker may be replaced it goes on serving, beyond its number of calls.
    #[must_use]
    pub fn max_requests(mut self, calls: u64) -> Config {
        self.max_requests = Some(calls.max(1));
        self
    }

    /// As [`max_requests`](Config::max_requests), with up to `jitter` times as many calls more.
    #[must_use]
    pub fn max_requests_with_jitter(self, calls: u64, jitter: f64) -> Config {
        Config { jitter, ..self.max_requests(calls) }
    }

    /// Whether each worker keeps to one processor, in turn, of those that this process may use
    /// (sched_setaffinity(2)); not unless told. Its threads and children keep to it too.
    #[must_use]
    pub fn pin_workers(mut self, pin: bool) -> Config {
        self.pin_workers = pin;
        self
    }

    /// Says that this process holds a pidfile, whose name the new server will want when the program
    /// is upgraded (SIGUSR2). Until this process ends the file is then called `….oldbin`; it gets
    /// its name back if the new server fails.
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
