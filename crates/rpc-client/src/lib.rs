//! A blocking client: one connection with one call at a time, or a pool of them for many threads.
//!
//! ```text
//!   call ──▶ one write: prefix and request ──▶ server
//!        ◀── one read:  prefix and reply   ◀──
//!
//!   thread ─┐        ┌─ connection ──▶ server
//!   thread ─┼─ Pool ─┤
//!   thread ─┘        └─ connection ──▶ another server of the same kind
//! ```
//!
//! # When to use it
//!
//! In a program that can wait for a reply. A [`Client`] is one connection; give each thread its
//! own, or let the threads share a [`Pool`]. A pool also survives a restart of the server, knows
//! several addresses, and retries a call where that is safe.
//!
//! It is the wrong choice inside an asynchronous runtime, where it would block an executor thread.
//!
//! # Example
//!
//! ```
//! # use rpc_core::{Acceptor, Registry, Service};
//! use rpc_client::{Client, Method};
//!
//! const PING: Method<String, String> = Method::new("ping", "pong");
//!
//! # let mut registry = Registry::new();
//! # registry.register(PING, |text, _ctx| Ok(text))?;
//! # let mut acceptor = Acceptor::bind(&"127.0.0.1:0".parse()?)?;
//! # let address = acceptor.address().clone();
//! # let server = std::thread::spawn(move || {
//! #     let conn = acceptor.accept().unwrap().unwrap();
//! #     Service::new(registry).serve_conn(conn);
//! # });
//! let mut client = Client::connect(&address)?;
//! assert_eq!(client.call(PING, &"ireader 0".to_owned())?, "ireader 0");
//! # drop(client);
//! # server.join().unwrap();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to read next
//!
//! [`Client`] for the calls, [`CallError`] for what can go wrong with one, [`Executed`] for whether
//! it is safe to retry, [`Pool`] for automatic retries.

#![forbid(unsafe_code)]

mod balancer;
mod client;
mod connections;
mod error;
mod executed;
mod pool;
mod stream;

pub use client::{Client, ClientBuilder, RawReply};
pub use error::CallError;
pub use executed::Executed;
pub use pool::{Pool, PoolBuilder};
pub use rpc_proto::{
    Address, ErrorCode, ForeignProtocol, FrameError, MessageError, Method, ParseAddressError,
    RpcError,
};
#[doc(no_inline)]
pub use serde_json::value::RawValue;
