//! The errors that a server answers with on its own account.

use std::error::Error;
use std::time::Duration;

use rpc_proto::{ERROR_KIND, ErrorCode, FrameWriter, Response, RpcError};
use serde_json::json;

use crate::context::Peer;

/// The refusal of a server that serves as many as it may: `limit` of `what`.
pub fn busy(what: &str, limit: usize) -> RpcError {
    RpcError::new(ErrorCode::Busy, format!("the limit of {limit} {what} is reached"))
        .with_data(&json!({ "limit": limit, "executed": "no" }))
}

/// The refusal of a server that could serve if the system let it: `failed` and why.
pub fn out_of_resources(failed: &str, error: &(dyn Error + 'static)) -> RpcError {
    let message = format!("{failed}: {}", with_causes(error));
    RpcError::new(ErrorCode::Busy, message).with_data(&json!({ "executed": "no" }))
}

/// The error and what it came from, in one line.
pub(crate) fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        message.push_str(&format!(": {error}"));
        cause = error.source();
    }
    message
}

pub(crate) fn access_denied(peer: Peer) -> RpcError {
    let uid = match peer {
        Peer::Unix(credentials) => Some(credentials.uid),
        Peer::Tcp(_) => None,
    };
    let message = match uid {
        Some(uid) => format!("the server does not serve the user {uid}"),
        None => "the server serves users of its own machine only".to_owned(),
    };
    RpcError::new(ErrorCode::AccessDenied, message)
        .with_data(&json!({ "executed": "no", "uid": uid }))
}

pub(crate) fn shutting_down() -> RpcError {
    RpcError::new(ErrorCode::ShuttingDown, "the server is stopping; nothing was executed")
        .with_data(&json!({ "executed": "no" }))
}

pub(crate) fn stopped_before_the_end() -> RpcError {
    let message = "the server stopped before the handler returned; the handler may have run";
    RpcError::new(ErrorCode::ShuttingDown, message).with_data(&json!({ "executed": "maybe" }))
}

pub(crate) fn timed_out(what: &str, limit: Duration) -> RpcError {
    RpcError::new(ErrorCode::TimedOut, format!("{what} within {limit:?}"))
        .with_data(&json!({ "limit_ms": u64::try_from(limit.as_millis()).unwrap_or(u64::MAX) }))
}

pub(crate) fn append_error(replies: &mut FrameWriter, error: &RpcError) {
    if replies.append(|body| Response::encode(body, ERROR_KIND, error)).is_err() {
        // Only an error of more than 4 GiB does not fit, and this one does.
        let short = RpcError::internal("the error was longer than a frame can be");
        let _ = replies.append(|body| Response::encode(body, ERROR_KIND, &short));
    }
}
