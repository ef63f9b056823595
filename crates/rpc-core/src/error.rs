//! What can keep a server from serving. Nothing that a client does is among it.

use std::io;
use std::time::Duration;

use rpc_proto::Address;

use crate::death::Reason;

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
    /// This process must not or cannot have children.
    #[error("cannot serve in child processes")]
    Fork(#[from] ForkError),
    /// The children or the listening socket cannot be watched.
    #[error("cannot wait for events")]
    Watch(#[source] io::Error),
    /// Not one worker has ever become ready, however often it was tried.
    #[error("no worker got ready; the last one {reason}")]
    NeverReady {
        /// What became of the last one.
        reason: Reason,
    },
    /// The server stopped, but not everything that it had begun was finished within the grace.
    #[error("stopped with {count} unfinished after a grace of {grace:?}")]
    Unfinished {
        /// How many threads or processes were still at work.
        count: usize,
        /// How long they were given.
        grace: Duration,
    },
}

/// Why there is no new child.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForkError {
    /// The process has other threads.
    #[error("refusing to fork a process with {threads} threads: only one may run")]
    Threads {
        /// How many there are.
        threads: u64,
    },
    /// The threads of this process cannot be counted.
    #[error("cannot count the threads of this process in /proc/self/task")]
    CountThreads(#[source] io::Error),
    /// The system does not have, or forbids, what having children takes.
    #[error("cannot do without {call}")]
    Missing {
        /// The system call.
        call: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// No descriptor to watch the child with.
    #[error("no descriptor left to watch a child with")]
    Descriptor(#[source] io::Error),
    /// fork(2) failed: a limit on processes, or no memory.
    #[error("cannot fork")]
    Fork(#[source] io::Error),
    /// The child cannot be watched. It was killed; it may have begun to serve.
    #[error("cannot watch the new child, which was killed")]
    Watch(#[source] io::Error),
}
