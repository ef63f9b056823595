//! Why there is no new child.

use std::io;

use rpc_core::ServeError;

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

impl From<ForkError> for ServeError {
    fn from(error: ForkError) -> ServeError {
        ServeError::Model(Box::new(error))
    }
}
