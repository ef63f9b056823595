//! A blocking RPC server with worker processes that are forked before the connections come.
//!
//! ```text
//!   master: forks, waits, replaces workers that end; never accepts and never serves
//!     │
//!     ├─ worker 1 ─┐
//!     ├─ worker 2 ─┼─ each: accept ──▶ serve_conn ──▶ accept …   on one shared socket
//!     └─ worker 3 ─┘
//! ```
//!
//! # When to use it
//!
//! Use it when handlers may crash and connections are short: no connection pays for a fork, and a
//! worker that dies takes down only the connection that it served, and is replaced. With threads in
//! the workers ([`Config::serve_with`]) a few processes hold many connections, and a crash takes
//! down only those of one worker.
//!
//! State in memory becomes one copy per process. A worker starts with a copy of the master's memory
//! at the fork; neither the master nor another worker sees its changes, and they end with it. All
//! connections that one worker serves share its copy.
//!
//! It is the wrong choice when handlers must share state in memory, when there are more long-lived
//! connections than workers (the default worker serves one at a time; the rest wait in the kernel's
//! queue), and in a program with other threads, which `serve` refuses to fork.
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
//! It is not run as a test because the test harness has threads; `examples/ping.rs` is a whole
//! program.
//!
//! # Where to read next
//!
//! `docs/models.md` in the repository, which says what the four models cost and survive.

#![forbid(unsafe_code)]

mod config;
mod error;
mod pinning;
mod restart_delay;
mod supervisor;
mod upgrade;
mod worker_slot;

use rpc_process::Fork;
use supervisor::Supervisor;

pub use config::Config;
pub use error::NeverReady;
pub use rpc_core::{
    Acceptor, Address, Connection, Context, Credentials, ErrorCode, Method, Peer, RegisterError,
    Registry, RpcError, ServeError, Server, Service, Shutdown,
};
pub use rpc_daemon::PidFile;
pub use rpc_process::ForkError;

/// Serves with worker processes that are forked in advance, with the default [`Config`]. Blocks
/// like [`Config::serve_with`].
///
/// # Errors
///
/// Like [`Config::serve_with`].
pub fn serve(acceptor: Acceptor, service: &Service) -> Result<(), ServeError> {
    Config::new().serve(acceptor, service)
}

impl Config {
    /// Serves with workers that serve one connection at a time. Blocks like
    /// [`serve_with`](Config::serve_with).
    ///
    /// # Errors
    ///
    /// Like [`serve_with`](Config::serve_with).
    pub fn serve(&self, acceptor: Acceptor, service: &Service) -> Result<(), ServeError> {
        self.serve_with(acceptor, service, |mut acceptor, service| {
            while let Some(conn) = acceptor.accept()? {
                service.serve_conn(conn);
            }
            Ok(())
        })
    }

    /// Serves with workers that each run `worker` on the shared socket; this process only forks,
    /// waits and replaces workers. Handlers run on a copy of its memory, made when their worker was
    /// forked. `docs/signals.md` in the repository lists the signals.
    ///
    /// `worker` is the `serve` of another model, such as `rpc_server_thread::serve`, or a closure
    /// that calls it.
    ///
    /// Blocks until the server stops, and then until the workers have answered the requests that
    /// they had received, for at most the acceptor's grace and 1 s: at the end of the grace a
    /// worker that still runs answers -32002 and ends, and 1 s later it is killed. Also returns
    /// when a new program has taken over (SIGUSR2) and the workers of this one have ended.
    ///
    /// # Errors
    ///
    /// [`ServeError::Model`] with a [`ForkError`] at once when the process has other threads, and
    /// with [`NeverReady`] when every worker slot has failed five times in a row and no worker ever
    /// accepted; [`ServeError::Unfinished`] when workers did not finish within the grace; another
    /// [`ServeError`] when the socket cannot be shared or workers cannot be watched. Nothing that a
    /// client does ends the loop, and neither does a failed fork: the master tries again later.
    pub fn serve_with(
        &self,
        mut acceptor: Acceptor,
        service: &Service,
        worker: impl Fn(Acceptor, &Service) -> Result<(), ServeError>,
    ) -> Result<(), ServeError> {
        let mut supervisor = Supervisor::new(&mut acceptor, self.clone())?;

        while let Some(slot) = supervisor.next_missing_worker(&mut acceptor)? {
            match supervisor.fork(slot) {
                Ok(Fork::Parent(_)) => {}
                Ok(Fork::Child(child)) => child.run(|| worker(acceptor, service)),
                Err(error) => tracing::error!(%error, "cannot fork a worker, trying again later"),
            }
        }

        supervisor.stop(acceptor)
    }
}
