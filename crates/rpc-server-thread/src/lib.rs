//! A blocking RPC server with one thread per connection.
//!
//! ```text
//!              ┌────────────────────── one process ─┐
//!              │ accepting thread                   │
//!   client A ──┼──▶ hands A to ──▶ thread 1         │
//!   client B ──┼──▶ hands B to ──▶ thread 2         │
//!              │                   thread 3 (idle)  │
//!              └────────────────────────────────────┘
//! ```
//!
//! # When to use it
//!
//! Use it when clients keep their connections open and are served in parallel. Handlers share state
//! in memory. It is the usual first choice.
//!
//! It is the wrong choice when a handler may abort or crash the process, because that ends all
//! connections. A thread whose handler never returns is lost: nothing can end it from outside.
//!
//! # Example
//!
//! ```
//! use rpc_server_thread::{Acceptor, Method, Registry, Service, serve};
//!
//! const PING: Method<String, String> = Method::new("ping", "pong");
//!
//! let mut registry = Registry::new();
//! registry.register(PING, |text, _ctx| Ok(text))?;
//! let acceptor = Acceptor::bind(&"127.0.0.1:0".parse()?)?.stop_on_signals()?;
//! # acceptor.shutdown().stop();
//! serve(acceptor, &Service::new(registry))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to read next
//!
//! `rpc-server-fork`, which forks in the body of this loop.

#![forbid(unsafe_code)]

mod permits;

use std::io;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use permits::{Permit, Permits};
use rpc_core::{busy, out_of_resources};

pub use rpc_core::{
    Acceptor, Address, Connection, Context, Credentials, ErrorCode, Method, Peer, RegisterError,
    Registry, RpcError, ServeError, Server, Service, Shutdown,
};

/// How long a thread without a connection waits for the next one before it ends.
const IDLE_THREAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves each connection in its own thread, with the default [`Config`]. Blocks like
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
    max_connections: usize,
}

impl Config {
    /// The defaults: at most 1,024 connections at a time.
    pub const fn new() -> Config {
        Config { max_connections: 1024 }
    }

    /// How many connections are served at a time; default: 1,024. Connections over the limit are
    /// rejected with -32000 at once.
    #[must_use]
    pub const fn max_connections(mut self, connections: usize) -> Config {
        self.max_connections = connections;
        self
    }

    /// Serves each connection in its own thread; this thread only accepts. A thread whose
    /// connection has ended waits 10 s for the next one, so that short connections do not each pay
    /// for a new thread.
    ///
    /// Blocks until the server stops, and then until the threads have answered the requests that
    /// they had received, for at most the acceptor's grace. When that is over after a stop by a
    /// signal, the process exits.
    ///
    /// # Errors
    ///
    /// [`ServeError::Unfinished`] when connections were still being served at the end of the grace
    /// after [`Shutdown::stop`]: their callers got -32002, and their threads continue until the
    /// process ends. Another [`ServeError`] when the listening socket breaks. Nothing that a client
    /// does ends the loop.
    pub fn serve(&self, mut acceptor: Acceptor, service: &Service) -> Result<(), ServeError> {
        acceptor.serve_in_threads();
        let mut permits = Permits::new(self.max_connections);
        let (to_idle_thread, inbox) = bounded(0);

        while let Some(conn) = acceptor.accept()? {
            let Some(permit) = permits.take() else {
                acceptor.refuse(conn, &busy("connections", self.max_connections));
                continue;
            };
            // A rendezvous: it succeeds only if a thread is waiting for a connection right now.
            let Err(none_is_idle) = to_idle_thread.try_send((conn, permit)) else {
                continue;
            };
            let (conn, permit) = none_is_idle.into_inner();
            match start_thread(inbox.clone(), service.clone()) {
                // The new thread, or one that has become idle meanwhile, takes it.
                Ok(()) => drop(to_idle_thread.send((conn, permit))),
                Err(error) => acceptor.refuse(conn, &out_of_resources("no new thread", &error)),
            }
        }

        let grace = acceptor.grace();
        match permits.wait_until_all_are_back(grace) {
            0 => Ok(()),
            count => {
                acceptor.answer_unfinished();
                Err(ServeError::Unfinished { count, grace })
            }
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
    }
}

fn start_thread(inbox: Receiver<(Connection, Permit)>, service: Service) -> io::Result<()> {
    let serve_one_after_another = move || {
        // The connection that it was started for comes without fail, or the next one if a thread
        // that has become idle takes that: nothing would take it if this one gave up.
        let mut next = inbox.recv().ok();
        while let Some((conn, permit)) = next {
            service.serve_conn(conn);
            drop(permit);
            next = inbox.recv_timeout(IDLE_THREAD_TIMEOUT).ok();
        }
    };
    thread::Builder::new().name("rpc-conn".into()).spawn(serve_one_after_another)?;
    Ok(())
}
