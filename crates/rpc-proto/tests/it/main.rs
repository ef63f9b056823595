//! Bytes in, messages out: the wire without a socket.

/// The bytes of a real exchange, written out by hand.
mod golden;
/// Methods as constants, and addresses as one writes them.
mod names;
/// Cutting a byte stream into frames, however the bytes arrive, in bounded memory.
mod reading;
/// Collecting frames so that each goes out whole or not at all.
mod writing;
