//! A blocking RPC server that serves one connection at a time.
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
//! When there is one client, or calls are short and connections too: a local daemon, a test
//! double, a device. Handlers share memory without locks that are ever contended, and a call
//! costs what the kernel costs and nothing more.
//!
//! It is the wrong choice as soon as a second client must not wait: a client that keeps its
//! connection open keeps everybody else out, and a handler that never returns stops the server.
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
//! `rpc-server-thread`, where only the body of this loop differs.

#![forbid(unsafe_code)]

pub use rpc_core::{
    Acceptor, Address, Connection, Context, Credentials, ErrorCode, Method, Peer, RegisterError,
    Registry, RpcError, ServeError, Service, Shutdown,
};

/// Serves one connection at a time, in this thread.
///
/// Blocks until the acceptor is told to stop; the request that is being handled then is finished
/// first, without a bound unless the stop came by a signal.
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
