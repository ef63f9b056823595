//! The client against peers that behave and peers that do not.

/// Calls that succeed.
mod calls;
/// Peers that close too early.
mod closing;
/// Getting a connection, or a reason.
mod connecting;
/// Which errors say that the handler did not run, and which that it may have.
mod executed;
/// The other end: a socket and a few lines of what to do with it.
mod peer;
/// Connections of a pool: used again, given back, waited for, thrown away.
mod pool;
/// What a pool does when connections cannot be made.
mod pool_addresses;
/// Calls that a pool makes again, and those that it does not.
mod pool_retries;
/// Replies that are not the one expected, and whether the connection goes on.
mod replies;
/// Peers that are too slow.
mod waiting;
