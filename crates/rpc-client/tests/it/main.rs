//! The client against peers that behave and peers that do not.

/// Calls that succeed.
mod calls;
/// Peers that close too early.
mod closing;
/// Getting a connection, or a reason.
mod connecting;
/// The other end: a socket and a few lines of what to do with it.
mod peer;
/// Replies that are not the one expected, and whether the connection goes on.
mod replies;
/// Peers that are too slow.
mod waiting;
