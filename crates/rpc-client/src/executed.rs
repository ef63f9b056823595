//! Whether a call that failed was executed.

use std::fmt;
use std::ops::RangeInclusive;

use rpc_proto::{ErrorCode, RpcError};
use serde::Deserialize;

/// The codes that are the server's own, not a handler's.
pub(crate) const SERVER_CODES: RangeInclusive<i32> = -32099..=-32000;

/// Whether the handler of a call that failed may have run. Ask
/// [`CallError::executed`](crate::CallError::executed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Executed {
    /// The handler did not run and will not. Retrying is safe, and useful if the cause is
    /// temporary.
    No,
    /// Unknown. Retry only if executing the call twice does no harm
    /// ([`Method::idempotent`](crate::Method::idempotent)); otherwise look for its effect first.
    Maybe,
    /// The handler ran: it answered with an error of its own, or with something that this side
    /// cannot read. A retry would most likely end in the same way.
    Yes,
}

impl fmt::Display for Executed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Executed::No => "the handler did not run",
            Executed::Maybe => "the handler may have run",
            Executed::Yes => "the handler ran",
        })
    }
}

impl Executed {
    /// What an error from the server means, by its `data` or its code.
    pub(crate) fn of_answer(error: &RpcError) -> Executed {
        use ErrorCode::{
            AccessDenied, Busy, FrameTooLarge, InternalError, InvalidRequest, MethodNotFound,
            ParseError, TimedOut, WrongProtocol,
        };
        if SERVER_CODES.contains(&error.code)
            && let Some(executed) = said_in_data(error)
        {
            return executed;
        }
        match error.known_code() {
            Some(ParseError | InvalidRequest | MethodNotFound | Busy) => Executed::No,
            Some(FrameTooLarge | TimedOut | WrongProtocol | AccessDenied) => Executed::No,
            Some(InternalError) => Executed::Yes,
            // -32768 to -32000 are reserved, so an unknown one comes from a server newer than this
            // client. A handler may return -32602 too.
            _ if (-32768..=-32000).contains(&error.code) => Executed::Maybe,
            _ => Executed::Yes,
        }
    }
}

fn said_in_data(error: &RpcError) -> Option<Executed> {
    #[derive(Deserialize)]
    struct Data {
        executed: Executed,
    }
    let data: Data = serde_json::from_str(error.data.as_ref()?.get()).ok()?;
    Some(data.executed)
}
