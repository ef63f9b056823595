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

use std::thread;

use backoff::Backoff;
use rpc_core::{Children, Fork};

pub use rpc_core::{
    Acceptor, Address, Context, ErrorCode, Method, Registry, RpcError, ServeError, Service,
};

/// The status of a worker whose loop failed.
const EXIT_WORKER_FAILED: i32 = 1;

/// Serves with worker processes that are forked ahead, with the default [`Config`].
///
/// # Errors
///
/// As [`Config::serve_with`].
pub fn serve(acceptor: Acceptor, service: &Service) -> Result<(), ServeError> {
    Config::new().serve(acceptor, service)
}

/// The options of this model.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    workers: usize,
}

impl Config {
    /// Twice as many workers as there are processors, and one: Gunicorn's rule of thumb for
    /// workers that also wait for their peers.
    pub fn new() -> Config {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Config { workers: 2 * processors + 1 }
    }

    /// How many workers there are, at least one.
    #[must_use]
    pub const fn workers(mut self, workers: usize) -> Config {
        self.workers = if workers == 0 { 1 } else { workers };
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
    /// waits and replaces workers that die.
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
    /// [`ServeError::Unfinished`] when workers did not end by themselves in time. A worker that
    /// cannot be forked is tried again later.
    pub fn serve_with(
        &self,
        mut acceptor: Acceptor,
        service: &Service,
        worker: impl Fn(Acceptor, &Service) -> Result<(), ServeError>,
    ) -> Result<(), ServeError> {
        let mut workers = Children::new(&acceptor)?;
        acceptor.share_with_workers()?;
        let mut backoff = Backoff::new();

        while !workers.is_stopping() {
            let delay = backoff.left();
            if workers.len() >= self.workers || delay.is_some() {
                let deaths = workers.wait(delay)?;
                backoff.look_at(&deaths);
                continue;
            }
            match workers.fork() {
                Ok(Fork::Parent(_)) => {}
                Ok(Fork::Child(child)) => {
                    let served = worker(acceptor, service);
                    child.exit(exit_status(served))
                }
                Err(error) => {
                    tracing::error!(%error, "cannot fork a worker, trying again later");
                    backoff.another_failure();
                }
            }
        }

        workers.stop(acceptor)
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}

fn exit_status(served: Result<(), ServeError>) -> i32 {
    match served {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "worker failed");
            EXIT_WORKER_FAILED
        }
    }
}
