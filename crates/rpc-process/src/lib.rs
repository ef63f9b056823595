//! The children of a server: forking, watching, ending and reaping them.
//!
//! ```text
//!   parent: Children ── fork ──▶ InChild ── serves, then exits
//!              ▲                    │
//!              └── pidfd, pipe ─────┘  Event: ready, wants a replacement, exited
//! ```
//!
//! # When to use it
//!
//! Use it to write your own model whose connections are served in child processes.
//!
//! It is the wrong choice in a program with other threads: it never forks a process with more than
//! one thread.
//!
//! # Example
//!
//! A server with one process per connection:
//!
//! ```no_run
//! use rpc_core::{Acceptor, Method, Registry, Service};
//! use rpc_process::{Children, Fork, accept_and_reap};
//!
//! let mut registry = Registry::new();
//! registry.register(Method::<String, String>::new("ping", "pong"), |text, _ctx| Ok(text))?;
//! let service = Service::new(registry);
//! let mut acceptor = Acceptor::bind(&"127.0.0.1:8080".parse()?)?.stop_on_signals()?;
//! let mut children = Children::new(&acceptor)?;
//!
//! while let Some(conn) = accept_and_reap(&mut acceptor, &mut children)? {
//!     match children.fork()? {
//!         Fork::Parent(pid) => conn.leave_to(pid),
//!         Fork::Child(child) => {
//!             service.serve_conn(conn);
//!             child.exit(0)
//!         }
//!     }
//! }
//! children.stop(acceptor)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! It is not run as a test because the test harness has threads.
//!
//! # Where to read next
//!
//! [`Children::fork`], whose source also shows what a child does first; then `rpc-server-fork`.

mod backoff;
mod child;
mod children;
mod clock;
mod error;
mod fork;
mod kernel;
mod signal_queue;
mod start_again;
mod worker_timeouts;

pub use backoff::Backoff;
pub use child::{ChildExit, StopReason};
pub use children::{Children, Event, accept_and_reap};
pub use error::ForkError;
pub use fork::{Fork, InChild};
pub use worker_timeouts::WorkerTimeouts;
