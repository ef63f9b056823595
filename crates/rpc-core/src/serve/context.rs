//! What a handler may know about its call.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::sys::clock::{moment_in, now};

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A process on this machine, through a Unix socket.
    Unix(Credentials),
}

/// Who connected to a Unix socket, as the kernel saw it at the peer's connect(2): SO_PEERCRED,
/// unix(7). A peer may have given its end of the connection to another process since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// The process; it may have ended, and its number may belong to another by now.
    pub pid: i32,
    /// Its effective user; `u32::MAX` if the kernel does not tell.
    pub uid: u32,
    /// Its effective group.
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

/// What a handler may look at besides its params.
#[derive(Debug)]
pub struct Context {
    peer: Peer,
    /// As [`now`] counts.
    pub(crate) deadline: Option<u64>,
}

impl Context {
    /// The context of a call from `peer` without a deadline, for a test of a handler. Those of real
    /// calls are made by [`Service::serve_conn`](crate::Service::serve_conn).
    pub fn new(peer: Peer) -> Context {
        Context { peer, deadline: None }
    }

    /// The same call, whose time is up after `limit`.
    #[must_use]
    pub fn with_deadline(self, limit: Duration) -> Context {
        Context { deadline: Some(moment_in(limit)), ..self }
    }

    /// Who sent the request.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// When the caller will be told that the call took too long, and the result be thrown away;
    /// `None` when the call has no deadline. See
    /// [`Service::default_deadline`](crate::Service::default_deadline).
    pub fn deadline(&self) -> Option<Instant> {
        self.remaining().map(|time| Instant::now() + time)
    }

    /// How much time is left for the call, zero when it is over; `None` when it has no deadline.
    ///
    /// A handler that looks at it now and then can stop working for a caller who has gone.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| Duration::from_nanos(deadline.saturating_sub(now())))
    }
}
