//! The parts of a server that need no process of their own to be tested.

#![expect(clippy::disallowed_methods, reason = "the crate starts no thread, its tests do")]

/// Binding, accepting, refusing.
mod accepting;
/// Calls that take too long.
mod deadlines;
/// Which methods can be registered.
mod registering;
/// A server in a thread, and a plain socket to talk to it.
mod server;
/// What one connection is answered, byte for byte where it matters.
mod serving;
/// The file of a Unix socket: whose it is and who may remove it.
mod socket_file;
/// What `rpc.stats` is answered, and when.
mod stats;
/// Stopping from another thread.
mod stopping;
/// Connections that did not come from a listening socket.
mod without_network;
