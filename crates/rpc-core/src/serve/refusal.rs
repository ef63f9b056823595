//! The errors that the server itself answers with, in place of a handler.

use std::error::Error;
use std::time::Duration;

use rpc_proto::{ErrorCode, RpcError};
use serde_json::json;

use crate::serve::context::{Credentials, Peer};

/// The error -32000 of a server that has reached its limit: `limit` of `what`.
pub fn busy(what: &str, limit: usize) -> RpcError {
    RpcError::new(ErrorCode::Busy, format!("the limit of {limit} {what} is reached"))
        .with_data(&json!({ "limit": limit, "executed": "no" }))
}

/// The error -32000 of a server that lacks resources of the system: what `failed`, and why.
pub fn out_of_resources(failed: &str, error: &(dyn Error + 'static)) -> RpcError {
    let message = format!("{failed}: {}", with_causes(error));
    RpcError::new(ErrorCode::Busy, message).with_data(&json!({ "executed": "no" }))
}

/// The error and its sources, in one line.
pub fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(&format!(": {error}"));
        cause = error.source();
    }
    message
}

pub(crate) fn access_denied(peer: Peer) -> RpcError {
    let (uid, message) = match peer {
        Peer::Unix(Credentials { uid, .. }) => {
            (Some(uid), format!("the server does not serve the user {uid}"))
        }
        Peer::Tcp(_) => (None, "the server serves users of its own machine only".to_owned()),
    };
    RpcError::new(ErrorCode::AccessDenied, message)
        .with_data(&json!({ "executed": "no", "uid": uid }))
}

pub(crate) fn timed_out(what: &str, limit: Duration) -> RpcError {
    RpcError::new(ErrorCode::TimedOut, format!("{what} within {limit:?}"))
        .with_data(&json!({ "limit_ms": u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) }))
}

/// The answer to a call whose deadline passed before its handler was called.
pub(crate) fn deadline_was_over() -> RpcError {
    let message = "the deadline of this call passed before its turn; nothing was executed";
    RpcError::new(ErrorCode::DeadlineExceeded, message)
        .with_data(&json!({ "executed": "no", "limit_ms": 0 }))
}

/// Milliseconds, rounded up.
pub(crate) fn whole_millis(time: Duration) -> u64 {
    let in_the_second = u64::from(time.subsec_nanos().div_ceil(1_000_000));
    time.as_secs().saturating_mul(1000).saturating_add(in_the_second)
}
