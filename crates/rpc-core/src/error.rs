//! The errors that keep a server from serving. No client can cause one.

use std::error::Error;
use std::io;
use std::time::Duration;

use rpc_proto::Address;

/// Why a server cannot serve, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be bound: another server uses it, the process may not bind it, or it does
    /// not belong to this machine.
    #[error("cannot listen on {address}")]
    Bind {
        /// The requested address.
        address: Address,
        /// The error of the system call.
        source: io::Error,
    },
    /// The given socket cannot be used as a listening socket.
    #[error("cannot listen on the socket that was passed on")]
    Socket(#[source] io::Error),
    /// The file of a Unix socket cannot be given to another user.
    #[error("cannot change the owner of {address}")]
    ChangeOwner {
        /// Where the server listens.
        address: Address,
        /// The error of the system call.
        source: io::Error,
    },
    /// The shared memory or the descriptors of the server cannot be created.
    #[error("cannot set up the server's shared state")]
    Setup(#[source] io::Error),
    /// The signal handlers cannot be installed.
    #[error("cannot install signal handlers")]
    Signals(#[source] io::Error),
    /// The listening socket is broken.
    #[error("cannot accept connections")]
    Accept(#[source] io::Error),
    /// An error that only one model has. The source is a type of that model's crate.
    #[error("cannot serve in this model")]
    Model(#[source] Box<dyn Error + Send + Sync>),
    /// The children or the listening socket cannot be watched.
    #[error("cannot wait for events")]
    Watch(#[source] io::Error),
    /// The server stopped, but some calls were not finished within the grace.
    #[error("stopped with {count} unfinished after a grace of {grace:?}")]
    Unfinished {
        /// How many threads or processes were still working.
        count: usize,
        /// How long they could have taken.
        grace: Duration,
    },
}
