//! What a handler can learn about its call: its peer and its deadline.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::sys::clock::{moment_in, now};

/// The peer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A process on this machine, through a Unix socket.
    Unix(Credentials),
}

/// The process that connected to a Unix socket, as the kernel recorded it at the peer's connect(2):
/// SO_PEERCRED, unix(7). The peer may have passed its end to another process since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its process id. The process may have ended, and another one may have this id by now.
    pub pid: i32,
    /// Its effective user id; `u32::MAX` if unknown.
    pub uid: u32,
    /// Its effective group id; `u32::MAX` if unknown.
    pub gid: u32,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => write!(f, "{address}"),
            Peer::Unix(Credentials { pid, uid, .. }) => write!(f, "unix, uid {uid}, pid {pid}"),
        }
    }
}

/// What a handler gets besides its params.
#[derive(Debug)]
pub struct Context {
    peer: Peer,
    /// In nanoseconds, as [`now`] counts; `None` without a deadline.
    pub(crate) deadline: Option<u64>,
}

impl Context {
    /// The context of a call from `peer` without a deadline, for tests of a handler.
    /// [`Service::serve_conn`](crate::Service::serve_conn) creates the contexts of real calls.
    pub fn new(peer: Peer) -> Context {
        Context { peer, deadline: None }
    }

    /// The same context with a deadline `limit` from now.
    #[must_use]
    pub fn with_deadline(self, limit: Duration) -> Context {
        Context { deadline: Some(moment_in(limit)), ..self }
    }

    /// The peer that sent the request.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// When the caller gets -32001 in place of a result, which is then thrown away; `None` if the
    /// call has no deadline. See
    /// [`Service::default_deadline`](crate::Service::default_deadline).
    pub fn deadline(&self) -> Option<Instant> {
        self.remaining().map(|time| Instant::now() + time)
    }

    /// How much time is left for the call, zero after the deadline; `None` if the call has none.
    ///
    /// A handler that checks this now and then can stop when its result is no longer wanted.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| Duration::from_nanos(deadline.saturating_sub(now())))
    }
}
