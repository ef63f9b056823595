//! Bytes in, messages out: the wire without a socket.

/// The codes and the errors that carry them.
mod errors;
/// What goes through comes back the same.
mod fidelity;
/// Naming the protocol of a client that reached the wrong port.
mod foreign;
/// The bytes of a real exchange, written out by hand.
mod golden;
/// Methods as constants, and addresses as one writes them.
mod names;
