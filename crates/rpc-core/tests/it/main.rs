//! The parts of a server that need no process of their own to be tested.

/// Binding, accepting, refusing.
mod accepting;
/// A server in a thread, and a plain socket to talk to it.
mod server;
/// The file of a Unix socket: whose it is and who may remove it.
mod socket_file;
