//! The client against well-behaved and misbehaving peers.

/// Calls that succeed.
mod calls;
/// Peers that close too early.
mod closing;
/// Connecting, and why it fails.
mod connecting;
/// Which errors mean that the handler did not run, and which that it may have run.
mod executed;
/// The other end: a socket and a short script.
mod peer;
/// Connections of a pool: reused, returned, waited for, closed.
mod pool;
/// What a pool does when it cannot connect.
mod pool_addresses;
/// Which calls a pool retries.
mod pool_retries;
/// Unexpected replies, and whether the connection can be used again.
mod replies;
/// Peers that are too slow.
mod waiting;
