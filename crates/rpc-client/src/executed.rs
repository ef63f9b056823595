//! Whether a call that failed was executed.

use std::fmt;
use std::ops::RangeInclusive;

use rpc_proto::{ErrorCode, RpcError};
use serde::Deserialize;

/// The codes that are the server's own, not a handler's.
pub(crate) const SERVER_CODES: RangeInclusive<i32> = -32099..=-32000;

/// Whether the handler of a call that failed may have run. Ask
/// [`CallError::executed`](crate::CallError::executed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
            AccessDenied, Busy, Crashed, DeadlineExceeded, FrameTooLarge, InternalError,
            InvalidParams, InvalidRequest, MethodNotFound, ParseError, ShuttingDown, TimedOut,
            WrongProtocol,
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
            // A handler may return -32602 too.
            Some(InvalidParams | DeadlineExceeded | ShuttingDown | Crashed | _) => Executed::Maybe,
            // -32768 to -32000 are reserved, so these come from a server newer than this client.
            None if (-32768..=-32000).contains(&error.code) => Executed::Maybe,
            None => Executed::Yes,
        }
    }
}

fn said_in_data(error: &RpcError) -> Option<Executed> {
    #[derive(Deserialize)]
    struct Data<'a> {
        executed: &'a str,
    }
    let data: Data<'_> = serde_json::from_str(error.data.as_ref()?.get()).ok()?;
    match data.executed {
        "no" => Some(Executed::No),
        "maybe" => Some(Executed::Maybe),
        "yes" => Some(Executed::Yes),
        _ => None,
    }
}
