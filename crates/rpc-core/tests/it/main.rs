//! Tests of a server that need no process of their own.

#![expect(clippy::disallowed_methods, reason = "the crate starts no thread, its tests do")]

/// Binding, accepting, refusing.
mod accepting;
/// Calls that take too long.
mod deadlines;
/// Which methods can be registered.
mod registering;
/// The harness: a server in a thread, and a plain socket as its peer.
mod server;
/// The replies on one connection, byte for byte where it matters.
mod serving;
/// The file of a Unix socket: its mode, when it is replaced and when it is removed.
mod socket_file;
/// The reply to `rpc.stats`, and when there is one.
mod stats;
/// Stopping from another thread.
mod stopping;
/// Connections that did not come from a listening socket.
mod without_network;
