//! What can go wrong with a call.

use std::io;
use std::time::Duration;

use rpc_proto::{Address, FrameError, MessageError, RpcError};

use crate::executed::Executed;

/// Why a call has no result; [`executed`](CallError::executed) tells whether the handler may still
/// have run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// Connecting failed. Nothing was executed.
    #[error("cannot connect to {address}")]
    Connect {
        /// The server's address.
        address: Address,
        /// The system's error.
        source: io::Error,
    },
    /// All connections of a pool stayed in use until the call's time-out. Nothing was sent.
    #[error("none of the pool's {max_connections} connections was free within {limit:?}")]
    Exhausted {
        /// How many connections the pool may have.
        max_connections: usize,
        /// The time-out of the call.
        limit: Duration,
    },
    /// The params do not serialise to JSON. Nothing was sent; the connection can be used again.
    #[error("cannot serialise the params")]
    Params(#[source] io::Error),
    /// The connection was closed before the whole request was sent. The handler did not run.
    #[error("the connection was closed before the whole request was sent")]
    NotSent(#[source] io::Error),
    /// The connection was closed before the reply came. The handler may have run.
    #[error("the connection was closed before the reply; the handler may have run")]
    Closed(#[source] io::Error),
    /// The call's time-out passed before the reply arrived.
    #[error("no reply within {limit:?}; {executed}")]
    TimedOut {
        /// The time-out of a call.
        limit: Duration,
        /// `No` if the request could not be sent completely, otherwise `Maybe`.
        executed: Executed,
    },
    /// The peer broke the framing, or is not a server of this protocol.
    #[error("the peer broke the framing")]
    Frame(#[source] FrameError),
    /// The peer sent a frame whose body is not a reply.
    #[error("the peer sent something other than a reply")]
    Message(#[source] MessageError),
    /// The server answered with an error. Its code tells whether the connection can be used again.
    #[error("the server answered: {0}")]
    Rpc(RpcError),
    /// The reply is of another kind than the method's. The connection can be used again.
    #[error("expected a reply of the kind `{expected}`, got `{received}`")]
    Kind {
        /// The kind of the method that was called.
        expected: String,
        /// The kind of the reply.
        received: String,
    },
    /// The result does not fit the method's type. The connection can be used again.
    #[error("the result does not have the expected type")]
    Result(#[source] serde_json::Error),
    /// The connection was idle for too long to be trusted. Nothing was sent; connect again.
    #[error("the connection was idle for more than {limit:?}; connect again")]
    Idle {
        /// The idle time-out.
        limit: Duration,
    },
    /// An earlier call left the connection with a reply outstanding or half read. Nothing was
    /// sent; connect again.
    #[error("the connection is unusable after an earlier error; connect again")]
    Unusable,
}

impl CallError {
    /// The error that the server answered with, if it did.
    pub fn rpc_error(&self) -> Option<&RpcError> {
        match self {
            CallError::Rpc(error) => Some(error),
            _ => None,
        }
    }

    /// Whether the handler may have run.
    ///
    /// For an error from the server, its `data.executed` decides if present and the code is one of
    /// the server's own (-32000 to -32099); otherwise the table of codes in docs/wire.md decides.
    pub fn executed(&self) -> Executed {
        match self {
            CallError::Connect { .. }
            | CallError::Exhausted { .. }
            | CallError::Params(_)
            | CallError::NotSent(_)
            | CallError::Idle { .. }
            | CallError::Unusable => Executed::No,
            CallError::TimedOut { executed, .. } => *executed,
            CallError::Closed(_) | CallError::Frame(_) | CallError::Message(_) => Executed::Maybe,
            CallError::Kind { .. } | CallError::Result(_) => Executed::Yes,
            CallError::Rpc(error) => Executed::of_answer(error),
        }
    }
}
