//! What a handler may know about its call.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::scoreboard::Scoreboard;

/// Who is at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A process on this machine, through a Unix socket.
    Unix,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp(address) => write!(f, "{address}"),
            Peer::Unix => f.write_str("unix"),
        }
    }
}

/// What a handler may look at besides its params.
#[derive(Debug)]
pub struct Context {
    peer: Peer,
    pub(crate) scoreboard: Arc<Scoreboard>,
}

impl Context {
    pub(crate) fn new(peer: Peer, scoreboard: Arc<Scoreboard>) -> Context {
        Context { peer, scoreboard }
    }

    /// Who sent the request.
    pub fn peer(&self) -> Peer {
        self.peer
    }
}
