//! Bytes in, messages out: the wire without a socket.

/// The codes and the errors that carry them.
mod errors;
/// What goes through comes back the same.
mod fidelity;
/// Naming the protocol of a client that reached the wrong port.
mod foreign;
/// The bytes of a real exchange, written out by hand.
mod golden;
/// Streams and bodies as a hostile or a broken peer makes them, by the thousand.
mod hostile;
/// Which body is a request or a reply, and which error it becomes otherwise.
mod messages;
/// Methods as constants, and addresses as one writes them.
mod names;
/// What must hold for every input, tried on many.
mod properties;
/// Cutting a byte stream into frames, however the bytes arrive, in bounded memory.
mod reading;
/// Strings by blocks, byte by byte as serde_json has them.
mod strings;
/// Collecting frames so that each goes out whole or not at all.
mod writing;
