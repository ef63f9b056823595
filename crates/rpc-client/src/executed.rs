//! Whether a call that failed was executed.

use std::fmt;
use std::ops::RangeInclusive;

use rpc_proto::{ErrorCode, RpcError};
use serde::Deserialize;

/// The codes that the server itself answers with, not a handler.
pub(crate) const SERVER_CODES: RangeInclusive<i32> = -32099..=-32000;

/// Whether the handler of a call that failed may have run. Ask
/// [`CallError::executed`](crate::CallError::executed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Executed {
    /// The handler did not run and will not. The call can be made again without harm, if what
    /// stopped it is something that passes.
    No,
    /// Nobody can say. Make the call again only if it does not matter that it is executed twice
    /// ([`Method::idempotent`](crate::Method::idempotent)); else look for its effect first.
    Maybe,
    /// The handler ran: it answered with an error of its own, or with something that this side
    /// cannot read. The same call again would most likely end the same.
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
    /// What an error that the server answered says, by its `data` or its code.
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
            // A handler may answer with -32602 too.
            Some(InvalidParams | DeadlineExceeded | ShuttingDown | Crashed | _) => Executed::Maybe,
            // -32768 to -32000 are reserved, so these come from a server that is newer than we are.
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
