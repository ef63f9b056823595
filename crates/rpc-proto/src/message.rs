//! Messages: what the JSON in a frame means.

use core::time::Duration;
use std::borrow::Cow;
use std::io;

use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::error::RpcError;
use crate::frame::FrameWriter;
use crate::parse::{check_json, object};
use crate::payload;
use crate::spelling;

/// The kind of a reply whose result is an [`RpcError`](crate::RpcError). No method may use it.
pub const ERROR_KIND: &str = "error";

/// Why a body is not a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The body is not UTF-8.
    #[error("the body is not UTF-8")]
    NotUtf8(#[source] std::str::Utf8Error),
    /// The body is not one JSON text.
    #[error("the body is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// The body is JSON, but not the message that was expected.
    #[error("the body is JSON but not a {expected}")]
    NotAMessage {
        /// `request` or `reply`.
        expected: &'static str,
        /// What was wrong.
        source: serde_json::Error,
    },
}

/// A request: the method, the params, and the caller's time-out. Borrows from the body of its
/// frame.
///
/// On the wire `{"in": method, "timeout_ms": integer, "params": any}`, in any order. Unknown
/// fields are ignored, absent `params` are `null`, a duplicate field makes the request invalid.
#[derive(Debug)]
#[non_exhaustive]
pub struct Request<'a> {
    /// The field `in`.
    pub method: Cow<'a, str>,
    /// The field `timeout_ms`: how long the caller waits from now on. `None` if the field is absent
    /// or `null`; a number too large for `u64` is `u64::MAX` milliseconds.
    pub timeout: Option<Duration>,
    /// The field `params`, exactly as received.
    pub params: &'a RawValue,
}

impl<'a> Request<'a> {
    /// Parses the body of a frame. The params are checked to be JSON and not examined further.
    ///
    /// # Errors
    ///
    /// [`MessageError`]; its first two variants mean code -32700 and the third -32600.
    pub fn parse(body: &'a [u8]) -> Result<Request<'a>, MessageError> {
        let RequestFields { method, timeout, params } =
            parse_fields(utf8(body)?, "request", "an object with `in` and `params`")?;
        Ok(Request { method, timeout, params: params.unwrap_or(RawValue::NULL) })
    }

    /// Appends the body of a request without a time-out to `body`.
    ///
    /// # Errors
    ///
    /// If `params` does not serialise to JSON: a map whose keys are not strings, for example.
    pub fn encode<P: Serialize + ?Sized>(
        body: &mut Vec<u8>,
        method: &str,
        params: &P,
    ) -> io::Result<()> {
        spelling::encode_request_head(body, method, None);
        encode_payload(body, params)
    }

    /// Appends the body of a request to `body`, with the time that is left for it. It is sent in
    /// whole milliseconds, rounded up, so that a server does not give up before the caller does.
    ///
    /// # Errors
    ///
    /// Those of [`encode`](Request::encode).
    pub fn encode_with_timeout<P: Serialize + ?Sized>(
        body: &mut Vec<u8>,
        method: &str,
        timeout: Duration,
        params: &P,
    ) -> io::Result<()> {
        spelling::encode_request_head(body, method, Some(timeout));
        encode_payload(body, params)
    }
}

/// A reply: its kind and the result. Borrows from the body of its frame.
///
/// On the wire `{"out": kind, "result": any}`. A reply of the kind [`ERROR_KIND`] has an
/// [`RpcError`](crate::RpcError) as its result.
#[derive(Debug)]
#[non_exhaustive]
pub struct Response<'a> {
    /// The field `out`.
    pub kind: Cow<'a, str>,
    /// The field `result`, exactly as received.
    pub result: &'a RawValue,
}

impl<'a> Response<'a> {
    /// Parses the body of a frame. The result is checked to be JSON and not examined further.
    ///
    /// # Errors
    ///
    /// [`MessageError`] if the body is not a reply.
    pub fn parse(body: &'a [u8]) -> Result<Response<'a>, MessageError> {
        let body = utf8(body)?;
        if let Some((kind, result)) = spelling::split_reply(body)
            && let Ok(result) = check_json(result)
        {
            return Ok(Response { kind: Cow::Borrowed(kind), result });
        }
        let ResponseFields { kind, result } =
            parse_fields(body, "reply", "an object with `out` and `result`")?;
        Ok(Response { kind, result })
    }

    /// Appends the body of a reply to `body`.
    ///
    /// # Errors
    ///
    /// If `result` does not serialise to JSON: a map whose keys are not strings, for example.
    #[inline]
    pub fn encode<R: Serialize + ?Sized>(
        body: &mut Vec<u8>,
        kind: &str,
        result: &R,
    ) -> io::Result<()> {
        spelling::encode_reply_head(body, kind);
        encode_payload(body, result)
    }

    /// Appends the framed reply that reports `error`. It always fits: an error that is longer than
    /// a frame can be is replaced by one that says so.
    pub fn append_error(replies: &mut FrameWriter, error: &RpcError) {
        if replies.append(|body| Response::encode(body, ERROR_KIND, error)).is_err() {
            let short = RpcError::internal("the error was longer than a frame can be");
            let _ = replies.append(|body| Response::encode(body, ERROR_KIND, &short));
        }
    }
}

/// The beginning that all replies of one kind share, written once.
///
/// ```
/// use rpc_proto::Response;
/// use rpc_proto::internal::ReplyHead;
///
/// for kind in ["pong", "a \"quoted\" kind\n"] {
///     let (mut prepared, mut at_once) = (Vec::new(), Vec::new());
///     ReplyHead::new(kind).encode(&mut prepared, "hi")?;
///     Response::encode(&mut at_once, kind, "hi")?;
///     assert_eq!(prepared, at_once);
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ReplyHead(Box<[u8]>);

impl ReplyHead {
    /// The beginning of replies of the kind `kind`.
    pub fn new(kind: &str) -> ReplyHead {
        let mut head = Vec::new();
        spelling::encode_reply_head(&mut head, kind);
        ReplyHead(head.into())
    }

    /// Appends the body of a reply to `body`, as [`Response::encode`] does.
    ///
    /// # Errors
    ///
    /// Those of [`Response::encode`].
    #[inline]
    pub fn encode<R: Serialize + ?Sized>(&self, body: &mut Vec<u8>, result: &R) -> io::Result<()> {
        body.extend_from_slice(&self.0);
        encode_payload(body, result)
    }
}

#[inline]
fn encode_payload<P: Serialize + ?Sized>(body: &mut Vec<u8>, payload: &P) -> io::Result<()> {
    payload::append(body, payload)?;
    body.push(b'}');
    Ok(())
}

fn utf8(body: &[u8]) -> Result<&str, MessageError> {
    std::str::from_utf8(body).map_err(MessageError::NotUtf8)
}

#[derive(Deserialize)]
struct RequestFields<'a> {
    #[serde(borrow, rename = "in")]
    method: Cow<'a, str>,
    #[serde(default, rename = "timeout_ms", deserialize_with = "read_timeout")]
    timeout: Option<Duration>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ResponseFields<'a> {
    #[serde(borrow, rename = "out")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    result: &'a RawValue,
}

fn parse_fields<'a, Fields: Deserialize<'a>>(
    body: &'a str,
    message: &'static str,
    object_description: &'static str,
) -> Result<Fields, MessageError> {
    let mut json = serde_json::Deserializer::from_str(body);
    let fields = object(&mut json, object_description);
    fields.and_then(|fields| json.end().map(|()| fields)).map_err(|source| {
        match serde_json::from_str::<IgnoredAny>(body) {
            Err(not_json) => MessageError::NotJson(not_json),
            Ok(_) => MessageError::NotAMessage { expected: message, source },
        }
    })
}

/// From the digits, because serde_json reads a number beyond `u64` as a double, like `1.5` and
/// `1e3`.
fn read_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    match <&RawValue>::deserialize(deserializer)?.get() {
        "null" => Ok(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(Some(Duration::from_millis(digits.parse().unwrap_or(u64::MAX))))
        }
        _ => Err(D::Error::custom("`timeout_ms` is not an unsigned integer")),
    }
}
