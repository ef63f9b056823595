//! What can keep a server from serving. Nothing that a client does is among it.

use std::error::Error;
use std::io;
use std::time::Duration;

use rpc_proto::Address;

/// Why a server cannot serve, or no longer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be bound: in use by another server, not allowed, not of this machine.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address that was asked for.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// The socket that was given cannot be used as a listening one.
    #[error("cannot listen on the socket that was passed on")]
    Socket(#[source] io::Error),
    /// The file of a Unix socket cannot be given to another user.
    #[error("cannot change the owner of {address}")]
    ChangeOwner {
        /// Where the server listens.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// The memory or the descriptors that a server shares with its children cannot be had.
    #[error("cannot set up the server's shared state")]
    Setup(#[source] io::Error),
    /// The handlers for stop signals cannot be installed.
    #[error("cannot install signal handlers")]
    Signals(#[source] io::Error),
    /// The listening socket is broken.
    #[error("cannot accept connections")]
    Accept(#[source] io::Error),
    /// What can keep one model from serving. The source is of a type of that model's crate.
    #[error("cannot serve in this model")]
    Model(#[source] Box<dyn Error + Send + Sync>),
    /// The children or the listening socket cannot be watched.
    #[error("cannot wait for events")]
    Watch(#[source] io::Error),
    /// The server stopped, but not everything that it had begun was finished within the grace.
    #[error("stopped with {count} unfinished after a grace of {grace:?}")]
    Unfinished {
        /// How many threads or processes were still at work.
        count: usize,
        /// How long they were given.
        grace: Duration,
    },
}
