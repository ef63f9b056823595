//! Bytes in, messages out: the wire without a socket.
