//! The errors of a fork.

use std::io;

use rpc_core::ServeError;

/// Why there is no new child.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ForkError {
    /// The process has other threads.
    #[error("refusing to fork a process with {threads} threads: it must have only one")]
    Threads {
        /// The number of threads.
        threads: u64,
    },
    /// The threads of this process cannot be counted.
    #[error("cannot count the threads of this process in /proc/self/task")]
    CountThreads(#[source] io::Error),
    /// The system lacks or forbids a call that is needed to have children.
    #[error("cannot use {call}, which is required")]
    Missing {
        /// The system call.
        call: &'static str,
        /// The error of the system call.
        source: io::Error,
    },
    /// No descriptor is left for watching the child.
    #[error("no descriptor is left for watching a child")]
    Descriptor(#[source] io::Error),
    /// fork(2) failed: a limit on processes is reached, or memory is short.
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
