//! The error in a reply of the kind `error`.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::frame::FrameError;
use crate::message::MessageError;
use crate::parse::object;

/// How much of the peer's input an error message may repeat, in bytes.
const SHOWN_LEN: usize = 200;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// The error codes of the protocol.
        ///
        /// -32700 to -32600 are those of the
        /// [JSON-RPC 2.0 specification](https://www.jsonrpc.org/specification#error_object);
        /// -32000 to -32099, which it leaves to implementations, are the server's own.
        /// Handlers are free to use any other number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
        }

        impl ErrorCode {
            /// Every code, in the order of docs/wire.md.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$name),*];

            /// The number on the wire.
            pub const fn code(self) -> i32 {
                match self { $(ErrorCode::$name => $code,)* }
            }

            /// The code in words, as docs/wire.md lists it.
            pub const fn text(self) -> &'static str {
                match self { $(ErrorCode::$name => $text,)* }
            }

            /// The code with this number, if it is one of these.
            pub const fn from_code(code: i32) -> Option<ErrorCode> {
                match code { $($code => Some(ErrorCode::$name),)* _ => None }
            }
        }
    };
}

error_codes! {
    /// The body is not JSON or not UTF-8. The connection stays open.
    ParseError = -32700, "parse error";
    /// The body is JSON but not a request. The connection stays open.
    InvalidRequest = -32600, "invalid request";
    /// No method with that name is registered. The connection stays open.
    MethodNotFound = -32601, "method not found";
    /// The params do not fit the method's type; the handler did not run. The connection stays open.
    InvalidParams = -32602, "invalid params";
    /// The handler failed or panicked. The connection stays open.
    InternalError = -32603, "internal error";
    /// A limit on connections, threads, processes or descriptors is reached. Nothing was executed.
    Busy = -32000, "busy";
    /// The call's time ran out. `data.executed` tells whether a handler may have run.
    DeadlineExceeded = -32001, "deadline exceeded";
    /// The server is stopping. `data.executed` tells whether a handler may have run.
    ShuttingDown = -32002, "shutting down";
    /// The frame is longer than the server's limit. Nothing was executed; the server closes the
    /// connection.
    FrameTooLarge = -32003, "frame too large";
    /// The process died while it handled the call; the handler may have run.
    Crashed = -32004, "crashed";
    /// The connection was silent for too long, or a frame took too long to arrive.
    TimedOut = -32005, "timed out";
    /// The first bytes belong to another protocol. The server closes the connection.
    WrongProtocol = -32006, "wrong protocol";
    /// The peer is not on the server's list of users. Nothing was executed; the server closes the
    /// connection.
    AccessDenied = -32007, "access denied";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl From<ErrorCode> for i32 {
    fn from(code: ErrorCode) -> i32 {
        code.code()
    }
}

/// An error on the wire: `{"code":…,"message":…,"data":…}`, the error object of JSON-RPC 2.0.
///
/// Handlers return it, clients receive it.
#[derive(Clone, Debug, Serialize, thiserror::Error)]
#[error("{message} (code {code}){}", data_in_words(data.as_deref()))]
pub struct RpcError {
    /// One of [`ErrorCode`]'s numbers, or a number of the handler's own.
    pub code: i32,
    /// One short sentence for a person.
    pub message: Cow<'static, str>,
    /// More about the error, as JSON; absent on the wire if `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

impl RpcError {
    /// An error with a code of [`ErrorCode`] or of your own.
    pub fn new(code: impl Into<i32>, message: impl Into<Cow<'static, str>>) -> RpcError {
        RpcError { code: code.into(), message: message.into(), data: None }
    }

    /// The handler failed: code -32603 with what `error` displays.
    pub fn internal(error: impl fmt::Display) -> RpcError {
        RpcError::new(ErrorCode::InternalError, error.to_string())
    }

    /// The params do not fit the method, or the handler rejects them: code -32602.
    pub fn invalid_params(error: impl fmt::Display) -> RpcError {
        RpcError::new(ErrorCode::InvalidParams, cut(error.to_string()))
    }

    /// No method is called `name`: code -32601.
    pub fn method_not_found(name: &str) -> RpcError {
        RpcError::new(ErrorCode::MethodNotFound, format!("no method `{}`", cut(name.to_owned())))
    }

    /// Adds `data`. A value that does not serialise is left out, because an error about an error
    /// would not help.
    #[must_use]
    pub fn with_data(mut self, data: &impl Serialize) -> RpcError {
        self.data = serde_json::value::to_raw_value(data).ok();
        self
    }

    /// The code as an [`ErrorCode`], if it is one of the protocol's.
    pub fn known_code(&self) -> Option<ErrorCode> {
        ErrorCode::from_code(self.code)
    }
}

fn data_in_words(data: Option<&RawValue>) -> String {
    data.map_or_else(String::new, |data| format!(", data {data}"))
}

impl PartialEq for RpcError {
    /// Two errors are equal if they are the same on the wire.
    fn eq(&self, other: &RpcError) -> bool {
        self.code == other.code
            && self.message == other.message
            && self.data.as_deref().map(RawValue::get) == other.data.as_deref().map(RawValue::get)
    }
}

impl<'de> Deserialize<'de> for RpcError {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RpcError, D::Error> {
        let ErrorFields { code, message, data } =
            object(deserializer, "an error object with `code` and `message`")?;
        Ok(RpcError { code, message: message.into(), data })
    }
}

#[derive(Deserialize)]
struct ErrorFields {
    code: i32,
    message: String,
    #[serde(default, deserialize_with = "present")]
    data: Option<Box<RawValue>>,
}

/// A field that is `null` is present; serde would read it as absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(deserializer).map(Some)
}

impl From<&FrameError> for RpcError {
    /// How a server answers broken framing before it closes the connection.
    fn from(error: &FrameError) -> RpcError {
        match *error {
            FrameError::TooLarge { len, max } => {
                #[derive(Serialize)]
                struct Figures {
                    limit: usize,
                    length: usize,
                }
                RpcError::new(ErrorCode::FrameTooLarge, error.to_string())
                    .with_data(&Figures { limit: max, length: len })
            }
            FrameError::Foreign(_) => RpcError::new(ErrorCode::WrongProtocol, error.to_string()),
            FrameError::Truncated { .. } => RpcError::new(ErrorCode::TimedOut, error.to_string()),
        }
    }
}

impl From<MessageError> for RpcError {
    /// How a server answers a body that is not a request.
    fn from(error: MessageError) -> RpcError {
        let (code, source): (ErrorCode, &dyn fmt::Display) = match &error {
            MessageError::NotUtf8(source) => (ErrorCode::ParseError, source),
            MessageError::NotJson(source) => (ErrorCode::ParseError, source),
            MessageError::NotAMessage { source, .. } => (ErrorCode::InvalidRequest, source),
        };
        RpcError::new(code, cut(format!("{error}: {source}")))
    }
}

/// Shortens a text that may repeat the peer's input, which may be megabytes.
fn cut(text: String) -> String {
    match text.char_indices().find(|(at, _)| *at >= SHOWN_LEN) {
        None => text,
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}
