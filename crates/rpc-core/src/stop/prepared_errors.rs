//! The errors that a process sends when it stops, crashes, or gives up after the grace. They are
//! built in advance: a signal handler must not allocate, and many children that stop at once would
//! all have to build them.

use std::io;

use nix::sys::signal::Signal;
use rpc_proto::{ERROR_KIND, ErrorCode, FrameWriter, Response, RpcError};
use serde_json::json;

/// The prepared errors of one server.
pub(crate) struct PreparedErrors {
    /// The framed error for callers whose handlers run when the grace is over.
    pub(crate) unfinished: Box<[u8]>,
    /// The body of the error for idle connections at a stop.
    pub(crate) stopping: Box<[u8]>,
}

impl PreparedErrors {
    pub(crate) fn new() -> io::Result<PreparedErrors> {
        let mut stopping = Vec::new();
        Response::encode(&mut stopping, ERROR_KIND, &shutting_down())?;
        let unfinished = framed(&stopped_before_the_end());
        Ok(PreparedErrors { unfinished, stopping: stopping.into() })
    }
}

pub(crate) fn shutting_down() -> RpcError {
    RpcError::new(ErrorCode::ShuttingDown, "the server is stopping; nothing was executed")
        .with_data(&json!({ "executed": "no" }))
}

fn stopped_before_the_end() -> RpcError {
    let message = "the server stopped before the handler returned; the handler may have run";
    RpcError::new(ErrorCode::ShuttingDown, message).with_data(&json!({ "executed": "maybe" }))
}

/// The framed error of a process that crashes with `signal`.
pub(crate) fn crashed_frame(signal: Signal) -> Box<[u8]> {
    let message = format!("the server crashed with {signal}; the handler may have run");
    let error = RpcError::new(ErrorCode::Crashed, message)
        .with_data(&json!({ "executed": "maybe", "signal": signal.as_str() }));
    framed(&error)
}

fn framed(error: &RpcError) -> Box<[u8]> {
    let mut frame = FrameWriter::new();
    Response::append_error(&mut frame, error);
    frame.as_bytes().into()
}
