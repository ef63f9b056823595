//! A blocking RPC server that serves one connection at a time, in the thread that calls it.
//!
//! ```text
//!              ┌────────────────────────── one process, one thread ─┐
//!   client A ──┼──▶ accept ──▶ serve_conn … until A closes          │
//!   client B ──┼─ ─ ─ waits in the kernel's queue until then        │
//!              └────────────────────────────────────────────────────┘
//! ```
//!
//! # When to use it
//!
//! Use it when there is one client, or when calls and connections are short: a local daemon, a
//! test double, a device. Handlers share state in memory, and no lock is ever contended. A call
//! costs its system calls and nothing more.
//!
//! It is the wrong choice when a second client must not wait for the first: a client that keeps
//! its connection open makes all others wait, and a handler that never returns blocks the server.
//!
//! # Example
//!
//! ```
//! use rpc_server_single::{Acceptor, Method, Registry, Service, serve};
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
//! `rpc-server-thread`, which differs only in the body of this loop.

#![forbid(unsafe_code)]

pub use rpc_core::{
    Acceptor, Address, Connection, Context, Credentials, ErrorCode, Method, Peer, RegisterError,
    Registry, RpcError, ServeError, Server, Service, Shutdown,
};

/// Serves one connection at a time, in this thread.
///
/// Blocks until the server stops, and then until this thread has answered the requests that it had
/// received. After a stop by a signal the process exits when the acceptor's grace is over; after
/// [`Shutdown::stop`] there is no bound.
///
/// # Errors
///
/// [`ServeError`] when the listening socket breaks. Nothing that a client does ends the loop.
pub fn serve(mut acceptor: Acceptor, service: &Service) -> Result<(), ServeError> {
    while let Some(conn) = acceptor.accept()? {
        service.serve_conn(conn);
    }
    Ok(())
}
