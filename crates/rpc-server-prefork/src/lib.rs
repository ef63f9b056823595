//! A blocking RPC server with worker processes that are forked before the connections come.
//!
//! ```text
//!   master: forks, waits, replaces the dead; never accepts and never serves
//!     │
//!     ├─ worker 1 ─┐
//!     ├─ worker 2 ─┼─ each: accept ──▶ serve_conn ──▶ accept …   on one shared socket
//!     └─ worker 3 ─┘
//! ```
//!
//! # When to use it
//!
//! When handlers may crash and connections are short: the fork is paid ahead, a worker that dies
//! takes down the one connection that it served and is replaced. With a threaded worker
//! ([`Config::serve_with`]) a few processes hold many connections, and a crash takes down only
//! those of one process.
//!
//! It is the wrong choice when handlers share state in memory (each worker has a copy), when there
//! are more lasting connections than workers (the default worker serves one at a time; the rest
//! wait in the kernel's queue), and in a program with other threads.
//!
//! # Example
//!
//! ```no_run
//! use rpc_server_prefork::{Acceptor, Config, Method, Registry, Service};
//!
//! const PING: Method<String, String> = Method::new("ping", "pong");
//!
//! let mut registry = Registry::new();
//! registry.register(PING, |text, _ctx| Ok(text))?;
//! let acceptor = Acceptor::bind(&"127.0.0.1:8080".parse()?)?.stop_on_signals()?;
//! Config::new().workers(4).serve(acceptor, &Service::new(registry))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It is not run as a test because a test has threads; `examples/ping.rs` is a whole program.
//!
//! # Where to read next
//!
//! `docs/models.md` in the repository, for what the four models cost and survive.

#![forbid(unsafe_code)]

mod backoff;
mod crew;

use std::thread;
use std::time::Duration;

use crew::Crew;
use rpc_core::{Fork, Patience};

pub use rpc_core::{
    Acceptor, Address, Context, ErrorCode, Method, Registry, RpcError, ServeError, Service,
};
pub use rpc_daemon::PidFile;

/// Serves with worker processes that are forked ahead, with the default [`Config`].
///
/// # Errors
///
/// As [`Config::serve_with`].
pub fn serve(acceptor: Acceptor, service: &Service) -> Result<(), ServeError> {
    Config::new().serve(acceptor, service)
}

/// The options of this model.
#[derive(Clone, Debug)]
pub struct Config {
    workers: usize,
    patience: Patience,
    max_requests: Option<MaxRequests>,
    pin_workers: bool,
    pid_file: Option<PidFile>,
}

#[derive(Clone, Copy, Debug)]
struct MaxRequests {
    calls: u64,
    jitter: f64,
}

impl MaxRequests {
    fn drawn(self, chance: f64) -> u64 {
        self.calls.saturating_add((self.calls as f64 * self.jitter * chance) as u64)
    }
}

impl Config {
    /// Twice as many workers as there are processors, and one: Gunicorn's rule of thumb for
    /// workers that also wait for their peers.
    pub fn new() -> Config {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Config {
            workers: 2 * processors + 1,
            patience: Patience::default(),
            max_requests: None,
            pin_workers: false,
            pid_file: None,
        }
    }

    /// How many workers there are, at least one. SIGTTIN and SIGTTOU change it while the server
    /// runs.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Config {
        self.workers = if workers == 0 { 1 } else { workers };
        self
    }

    /// How long a new worker may take until it accepts; 60 s unless told. Then it is killed, and
    /// another is tried.
    #[must_use]
    pub fn boot_timeout(mut self, timeout: Duration) -> Config {
        self.patience.boot = timeout;
        self
    }

    /// How long the connections of a worker that was replaced may go on; 30 s unless told. Then
    /// they are closed between two calls, and a call that is not done a second later is answered
    /// with -32002.
    #[must_use]
    pub fn drain(mut self, time: Duration) -> Config {
        self.patience.drain = time;
        self
    }

    /// How long a worker may stand still that somebody stopped (SIGSTOP); 30 s unless told. Then
    /// it is told to end, and killed two seconds later if it does not. Noticed only if the
    /// acceptor stops on signals.
    #[must_use]
    pub fn hung_after(mut self, time: Duration) -> Config {
        self.patience.hung = time;
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
    pub fn max_requests(self, calls: u64) -> Config {
        self.max_requests_with_jitter(calls, 0.1)
    }

    /// As [`max_requests`](Config::max_requests), with up to `jitter` times as many calls more.
    #[must_use]
    pub fn max_requests_with_jitter(mut self, calls: u64, jitter: f64) -> Config {
        self.max_requests = Some(MaxRequests { calls: if calls == 0 { 1 } else { calls }, jitter });
        self
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

    /// Serves with workers that serve one connection at a time.
    ///
    /// # Errors
    ///
    /// As [`serve_with`](Config::serve_with).
    pub fn serve(&self, acceptor: Acceptor, service: &Service) -> Result<(), ServeError> {
        self.serve_with(acceptor, service, |mut acceptor, service| {
            while let Some(conn) = acceptor.accept()? {
                service.serve_conn(conn);
            }
            Ok(())
        })
    }

    /// Serves with workers that each run `worker` on the shared socket; this process only forks,
    /// waits and replaces workers. `docs/signals.md` in the repository lists what it obeys.
    ///
    /// `worker` is the `serve` of another model, such as `rpc_server_thread::serve`, or a closure
    /// around it.
    ///
    /// Blocks until the acceptor is told to stop, and then until the workers have answered the
    /// requests that they have received; who needs longer than the acceptor's grace is killed.
    ///
    /// # Errors
    ///
    /// [`ServeError::Fork`] at once when the process has other threads;
    /// [`ServeError::NeverReady`] when each worker failed five times in a row before it accepted,
    /// and none ever did; [`ServeError::Unfinished`] when workers did not end by themselves in
    /// time. A worker that cannot be forked is tried again later.
    pub fn serve_with(
        &self,
        mut acceptor: Acceptor,
        service: &Service,
        worker: impl Fn(Acceptor, &Service) -> Result<(), ServeError>,
    ) -> Result<(), ServeError> {
        let mut crew = Crew::new(&mut acceptor, self.clone())?;

        while let Some(vacancy) = crew.next_vacancy(&mut acceptor)? {
            match crew.fork(vacancy) {
                Ok(Fork::Parent(_)) => {}
                Ok(Fork::Child(child)) => child.run(|| worker(acceptor, service)),
                Err(error) => tracing::error!(%error, "cannot fork a worker, trying again later"),
            }
        }

        crew.stop(acceptor)
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}
