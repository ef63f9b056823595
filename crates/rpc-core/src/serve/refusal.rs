//! The errors that a server answers with on its own account.

use std::error::Error;
use std::time::Duration;

use nix::sys::signal::Signal;
use rpc_proto::{ERROR_KIND, ErrorCode, FrameWriter, PREFIX_LEN, Response, RpcError};
use serde_json::json;

use crate::serve::context::Peer;

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

/// The answer to a call whose time was up before its handler was called.
pub(crate) fn deadline_was_over() -> RpcError {
    let message = "the time for this call was over at its turn; nothing was executed";
    RpcError::new(ErrorCode::DeadlineExceeded, message)
        .with_data(&json!({ "executed": "no", "limit_ms": 0 }))
}

/// The framed answer to a call whose handler runs for too long. Written without help from the
/// allocator, since it is a signal handler that needs it.
pub(crate) struct DeadlineFrame {
    bytes: [u8; DeadlineFrame::MAX_LEN],
    len: usize,
}

impl DeadlineFrame {
    const MAX_LEN: usize = 192;
    const BEFORE_LIMIT: &str = concat!(
        r#"{"out":"error","result":{"code":-32001,"#,
        r#""message":"the handler did not return in time; it may have run","#,
        r#""data":{"executed":"maybe","limit_ms":"#
    );
    const BEHIND_LIMIT: &str = "}}}";

    /// Async-signal-safe.
    pub(crate) fn new(limit_ms: u32) -> DeadlineFrame {
        let mut frame = DeadlineFrame { bytes: [0; Self::MAX_LEN], len: PREFIX_LEN };
        frame.append(Self::BEFORE_LIMIT.as_bytes());
        let mut digits = [b'0'; 10];
        let mut first = digits.len();
        let mut rest = limit_ms;
        while rest > 0 || first == digits.len() {
            first -= 1;
            digits[first] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        frame.append(&digits[first..]);
        frame.append(Self::BEHIND_LIMIT.as_bytes());
        let body_len = (frame.len - PREFIX_LEN) as u32;
        frame.bytes[..PREFIX_LEN].copy_from_slice(&body_len.to_le_bytes());
        frame
    }

    fn append(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        self.bytes[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The framed last words of a process that `signal` ends.
pub(crate) fn crashed_frame(signal: Signal) -> Box<[u8]> {
    let message = format!("the server crashed with {signal}; the handler may have run");
    let error = RpcError::new(ErrorCode::Crashed, message)
        .with_data(&json!({ "executed": "maybe", "signal": signal.as_str() }));
    let mut frame = FrameWriter::new();
    append_error(&mut frame, &error);
    frame.as_bytes().into()
}

/// Milliseconds, rounded up.
pub(crate) fn whole_millis(time: Duration) -> u64 {
    let in_the_second = u64::from(time.subsec_nanos().div_ceil(1_000_000));
    time.as_secs().saturating_mul(1000).saturating_add(in_the_second)
}

pub(crate) fn append_error(replies: &mut FrameWriter, error: &RpcError) {
    if replies.append(|body| Response::encode(body, ERROR_KIND, error)).is_err() {
        // Only an error of more than 4 GiB does not fit, and this one does.
        let short = RpcError::internal("the error was longer than a frame can be");
        let _ = replies.append(|body| Response::encode(body, ERROR_KIND, &short));
    }
}

#[cfg(test)]
mod tests {
    use rpc_proto::{FrameReader, MAX_FRAME_LEN};

    use super::*;

    #[test]
    fn the_frame_of_a_passed_deadline_is_an_error_reply_with_its_limit() {
        for limit_ms in [0, 1, 9, 10, 200, 86_400_000, u32::MAX] {
            let frame = DeadlineFrame::new(limit_ms);
            let mut reader = FrameReader::new(MAX_FRAME_LEN);
            assert_eq!(reader.read_from(&mut frame.as_bytes()).unwrap(), frame.len);
            let reply = Response::parse(reader.next_frame().unwrap().unwrap()).unwrap();
            assert_eq!(reply.kind, ERROR_KIND);
            let error: RpcError = serde_json::from_str(reply.result.get()).unwrap();
            assert_eq!(error.known_code(), Some(ErrorCode::DeadlineExceeded));
            let data = format!(r#"{{"executed":"maybe","limit_ms":{limit_ms}}}"#);
            assert_eq!(error.data.unwrap().get(), data);
        }
    }
}
