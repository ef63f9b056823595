//! Messages: what the JSON in a frame means.

use core::time::Duration;
use std::borrow::Cow;
use std::fmt;
use std::io;
use std::marker::PhantomData;

use serde::de::{self, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::error::RpcError;
use crate::frame::FrameWriter;
use crate::parse::check_json;
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
        let envelope = parse_envelope::<RequestFields>(utf8(body)?)?;
        Ok(Request { method: envelope.name, timeout: envelope.timeout, params: envelope.payload })
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
        let (kind, result) = match spelling::split_reply(body)
            .and_then(|(kind, result)| Some((kind, check_json(result).ok()?)))
        {
            Some((kind, result)) => (Cow::Borrowed(kind), result),
            None => {
                let envelope = parse_envelope::<ResponseFields>(body)?;
                (envelope.name, envelope.payload)
            }
        };
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

/// The fields of a message: a name and a payload, and in a request a time-out.
trait Fields {
    const MESSAGE: &'static str;
    const NAME: &'static str;
    const TIMEOUT: Option<&'static str>;
    const PAYLOAD: &'static str;
    const PAYLOAD_MAY_BE_ABSENT: bool;
}

struct RequestFields;

impl Fields for RequestFields {
    const MESSAGE: &'static str = "request";
    const NAME: &'static str = "in";
    const TIMEOUT: Option<&'static str> = Some("timeout_ms");
    const PAYLOAD: &'static str = "params";
    const PAYLOAD_MAY_BE_ABSENT: bool = true;
}

struct ResponseFields;

impl Fields for ResponseFields {
    const MESSAGE: &'static str = "reply";
    const NAME: &'static str = "out";
    const TIMEOUT: Option<&'static str> = None;
    const PAYLOAD: &'static str = "result";
    const PAYLOAD_MAY_BE_ABSENT: bool = false;
}

fn parse_envelope<F: Fields>(body: &str) -> Result<Envelope<'_, F>, MessageError> {
    serde_json::from_str(body).map_err(|error| match serde_json::from_str::<IgnoredAny>(body) {
        Err(not_json) => MessageError::NotJson(not_json),
        Ok(_) => MessageError::NotAMessage { expected: F::MESSAGE, source: error },
    })
}

struct Envelope<'a, F> {
    name: Cow<'a, str>,
    timeout: Option<Duration>,
    payload: &'a RawValue,
    fields: PhantomData<F>,
}

impl<'de: 'a, 'a, F: Fields> Deserialize<'de> for Envelope<'a, F> {
    /// Written by hand because a derived struct also accepts an array of its fields.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor(PhantomData))
    }
}

struct EnvelopeVisitor<'a, F>(PhantomData<(&'a (), F)>);

impl<'de: 'a, 'a, F: Fields> Visitor<'de> for EnvelopeVisitor<'a, F> {
    type Value = Envelope<'a, F>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with `{}` and `{}`", F::NAME, F::PAYLOAD)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut name: Option<Text<'a>> = None;
        let mut timeout: Option<&'a RawValue> = None;
        let mut payload: Option<&'a RawValue> = None;
        while let Some(Text(key)) = map.next_key()? {
            if key == F::NAME {
                set_once(&mut name, map.next_value()?, F::NAME)?;
            } else if key == F::PAYLOAD {
                set_once(&mut payload, map.next_value()?, F::PAYLOAD)?;
            } else if let Some(field) = F::TIMEOUT.filter(|field| key == *field) {
                set_once(&mut timeout, map.next_value()?, field)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        let Text(name) = name.ok_or_else(|| de::Error::missing_field(F::NAME))?;
        let payload = match payload {
            None if F::PAYLOAD_MAY_BE_ABSENT => RawValue::NULL,
            None => return Err(de::Error::missing_field(F::PAYLOAD)),
            Some(payload) => payload,
        };
        let timeout = timeout.map_or(Ok(None), read_timeout)?;
        Ok(Envelope { name, timeout, payload, fields: PhantomData })
    }
}

/// From the digits, because serde_json reads a number beyond `u64` as a double, like `1.5` and
/// `1e3`.
fn read_timeout<E: de::Error>(value: &RawValue) -> Result<Option<Duration>, E> {
    match value.get() {
        "null" => Ok(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(Some(Duration::from_millis(digits.parse().unwrap_or(u64::MAX))))
        }
        _ => Err(E::custom("`timeout_ms` is not an unsigned integer")),
    }
}

fn set_once<T, E: de::Error>(field: &mut Option<T>, value: T, name: &'static str) -> Result<(), E> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(name)),
    }
}

/// A string that borrows from the input if it has no escapes; a plain `Cow` always copies.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
