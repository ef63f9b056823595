//! The parts that blocking RPC servers share: the method registry, the connection loop, the
//! acceptor, deadlines, the graceful stop, and the scoreboard that all processes of a server use.
//!
//! ```text
//!   Acceptor ── accept() ──▶ Connection ── serve_conn() ──▶ Service ──▶ Registry ──▶ handler
//!      ▲                          │
//!      │ stop: signal or call     │ one slot on the scoreboard, in shared memory
//!   Shutdown ──── SHUT_RD ────────┘
//! ```
//!
//! This crate owns no accept loop, spawns no thread and prints nothing. A *model* is a loop that
//! pulls connections from an [`Acceptor`] and runs [`Service::serve_conn`] for each: in the same
//! thread (`rpc-server-single`), in another thread (`rpc-server-thread`), in a child process
//! (`rpc-server-fork`), or in one of several processes that were forked in advance
//! (`rpc-server-prefork`).
//!
//! # When to use it
//!
//! Depend on this crate to write your own model. To serve with one of the four, depend on that
//! model's crate, which re-exports what a program needs from here.
//!
//! It is the wrong choice for thousands of connections that are mostly active at the same time (use
//! an asynchronous runtime), and on any system but Linux: eventfds and this behaviour of
//! `shutdown(SHUT_RD)` exist only there. A server with child processes also needs `rpc-process`;
//! `rpc-daemon` has what a service manager expects.
//!
//! # Example
//!
//! The whole single-threaded model:
//!
//! ```
//! use rpc_core::{Acceptor, Method, Registry, Service};
//!
//! const PING: Method<String, String> = Method::new("ping", "pong");
//!
//! let mut registry = Registry::new();
//! registry.register(PING, |text, _ctx| Ok(text))?;
//! let service = Service::new(registry);
//! let mut acceptor = Acceptor::bind(&"127.0.0.1:0".parse()?)?;
//! # acceptor.shutdown().stop();
//!
//! while let Some(conn) = acceptor.accept()? {
//!     service.serve_conn(conn);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to read next
//!
//! [`Acceptor`], then [`Service`]; [`Server`] for connections that did not come from a listening
//! socket; `docs/architecture.md` in the repository for a map of the code.

mod accept;
mod error;
mod scoreboard;
mod serve;
mod stop;
mod sys;

pub use accept::acceptor::Acceptor;
pub use error::ServeError;
pub use scoreboard::exit_reason::ExitReason;
pub use scoreboard::table::MAX_CONNECTIONS;
pub use serve::connection::Connection;
pub use serve::context::{Context, Credentials, Peer};
pub use serve::refusal::{busy, out_of_resources};
pub use serve::registry::{RegisterError, Registry};
pub use serve::server::Server;
pub use serve::service::Service;
pub use stop::control::Shutdown;
pub use sys::exit::{EXIT_DEADLINE, EXIT_GRACE_EXPIRED};

pub use rpc_proto::{Address, ErrorCode, Method, RpcError};

/// What only the crates of this workspace need from each other.
#[doc(hidden)]
pub mod internal {
    pub use crate::accept::wait::EventSource;
    pub use crate::serve::exchange::panic_message;
    pub use crate::serve::refusal::with_causes;
    pub use crate::serve::socket::poll_timeout;
    pub use crate::stop::handlers::forget_handlers;
    pub use crate::stop::signals::heard_by_child;
    pub use crate::stop::status_pipe::{READY, REPLACE};
    pub use crate::stop::supervision::{ForkEntry, ServingChild, StopOrder, Supervision};
    pub use crate::sys::exit::{EXIT_FAILED, EXIT_NOT_EXECUTED, EXIT_PANICKED, exit_now};
}
