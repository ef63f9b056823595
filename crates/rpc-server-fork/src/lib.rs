//! A blocking RPC server with one process per connection, forked when the connection comes.
//!
//! ```text
//!   parent: accept ──▶ fork ──▶ closes its copy of the connection ──▶ accept …
//!                       │
//!                       ├─ child 1: closes its copy of the listener, serves A, exits
//!                       └─ child 2: closes its copy of the listener, serves B, exits
//! ```
//!
//! # When to use it
//!
//! Use it when a handler may crash, leak or hang: it takes down only its own connection, and the
//! system reclaims everything that the child held. The parent stays small and never runs a handler.
//!
//! State in memory becomes one copy per process. A child starts with a copy of the parent's memory
//! at the fork; neither the parent nor another child sees its changes, and they end with it.
//!
//! It is the wrong choice when handlers must share state in memory, when connections are short (a
//! fork costs more than a call), and in a program with other threads, which `serve` refuses to
//! fork.
//!
//! # Example
//!
//! ```no_run
//! use rpc_server_fork::{Acceptor, Method, Registry, Service, serve};
//!
//! const PING: Method<String, String> = Method::new("ping", "pong");
//!
//! let mut registry = Registry::new();
//! registry.register(PING, |text, _ctx| Ok(text))?;
//! let acceptor = Acceptor::bind(&"127.0.0.1:8080".parse()?)?.stop_on_signals()?;
//! serve(acceptor, &Service::new(registry))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It is not run as a test because the test harness has threads; `examples/ping.rs` is a whole
//! program.
//!
//! # Where to read next
//!
//! `rpc-server-prefork`, which forks before the connections come.

#![forbid(unsafe_code)]

use rpc_core::{busy, out_of_resources};
use rpc_process::{Children, Fork, accept_and_reap};

pub use rpc_core::{
    Acceptor, Address, Connection, Context, Credentials, ErrorCode, Method, Peer, RegisterError,
    Registry, RpcError, ServeError, Server, Service, Shutdown,
};
pub use rpc_process::ForkError;

/// Serves each connection in its own process, with the default [`Config`]. Blocks like
/// [`Config::serve`].
///
/// # Errors
///
/// Like [`Config::serve`].
pub fn serve(acceptor: Acceptor, service: &Service) -> Result<(), ServeError> {
    Config::new().serve(acceptor, service)
}

/// The options of this model.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    max_children: usize,
}

impl Config {
    /// The defaults: at most 512 children at a time.
    pub const fn new() -> Config {
        Config { max_children: 512 }
    }

    /// How many children there are at a time, each with one connection; default: 512. Connections
    /// over the limit are rejected with -32000 at once.
    #[must_use]
    pub const fn max_children(mut self, children: usize) -> Config {
        self.max_children = children;
        self
    }

    /// Serves each connection in its own process; this process only accepts and forks. Handlers
    /// run on a copy of its memory, made at the fork.
    ///
    /// Blocks until the server stops, and then until the children have answered the requests that
    /// they had received, for at most the acceptor's grace and 1 s: at the end of the grace a child
    /// that still runs answers -32002 and ends, and 1 s later it is killed.
    ///
    /// # Errors
    ///
    /// [`ServeError::Model`] with a [`ForkError`] at once when the process has other threads;
    /// [`ServeError::Unfinished`] when children did not finish within the grace; another
    /// [`ServeError`] when the listening socket breaks. Nothing that a client does ends the loop,
    /// and neither does a failed fork: its connection is rejected with -32000.
    pub fn serve(&self, mut acceptor: Acceptor, service: &Service) -> Result<(), ServeError> {
        let mut children = Children::new(&acceptor)?;

        while let Some(conn) = accept_and_reap(&mut acceptor, &mut children)? {
            if children.len() >= self.max_children {
                acceptor.refuse(conn, &busy("children", self.max_children));
                continue;
            }
            match children.fork() {
                Ok(Fork::Parent(pid)) => conn.leave_to(pid),
                Ok(Fork::Child(child)) => {
                    acceptor.leave_to_parent();
                    service.serve_conn(conn);
                    child.exit(0)
                }
                // The child was killed, but it may have begun to answer.
                Err(ForkError::Watch(_)) => drop(conn),
                Err(error) => acceptor.refuse(conn, &out_of_resources("no new process", &error)),
            }
        }

        children.stop(acceptor)
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}
