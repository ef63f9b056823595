//! The wire of a small blocking RPC system: frames, messages, typed methods and errors.
//!
//! ```text
//!   4 bytes, little-endian        body, `length` bytes of JSON
//!  ┌────────────────────────┬───────────────────────────────────────┐
//!  │ length of the body     │ {"in":"ping","params":"ireader 0"}    │  request
//!  ├────────────────────────┼───────────────────────────────────────┤
//!  │ length of the body     │ {"out":"pong","result":"ireader 0"}   │  reply
//!  └────────────────────────┴───────────────────────────────────────┘
//! ```
//!
//! Replies come in the order of their requests, so a request needs no number.
//! A refused request is answered with the kind `error` and an [`RpcError`] as its result.
//!
//! # When to use it
//!
//! Use this crate alone to write a client or a server of your own that speaks this wire.
//! It works on bytes and on [`std::io::Read`] and [`std::io::Write`]; it opens no socket, starts
//! no process and reads no clock.
//! To serve, use `rpc-core` with one of the `rpc-server-*` crates; to call, use `rpc-client`.
//!
//! It is the wrong choice if replies must overtake each other on one connection, if messages are
//! binary, or if one request needs a stream of results: this wire has none of that.
//!
//! # Example
//!
//! ```
//! use rpc_proto::{FrameReader, FrameWriter, Request};
//!
//! let mut frames = FrameWriter::new();
//! frames.append(|body| Request::encode(body, "ping", "ireader 0"))?;
//!
//! let mut wire: &[u8] = frames.as_bytes();
//! let mut reader = FrameReader::new(rpc_proto::MAX_FRAME_LEN);
//! reader.read_from(&mut wire)?;
//! let body = reader.next_frame()?.expect("one whole frame was written");
//! let request = Request::parse(body)?;
//! assert_eq!(request.method, "ping");
//! assert_eq!(request.params.get(), r#""ireader 0""#);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to read next
//!
//! [`frame`](FrameReader) for the bytes, [`message`](Request) for the JSON, [`Method`] for the
//! types, [`ErrorCode`] for what can go wrong; `docs/wire.md` in the repository for the whole
//! contract with a hex dump.

#![forbid(unsafe_code)]

mod address;
mod error;
mod foreign;
mod frame;
mod message;
mod method;
mod parse;
mod payload;
mod spelling;
pub mod stats;
mod text;

pub use address::{Address, ParseAddressError};
pub use error::{ErrorCode, RpcError};
pub use foreign::ForeignProtocol;
pub use frame::{FrameError, FrameReader, FrameWriter, MAX_FRAME_LEN, PREFIX_LEN};
pub use message::{ERROR_KIND, MessageError, Request, Response};
pub use method::{Method, RESERVED_METHOD_PREFIX};
#[doc(no_inline)]
pub use serde_json::value::RawValue;

/// For the other crates of this workspace only; may change with every version.
#[doc(hidden)]
pub mod internal {
    pub use crate::frame::INITIAL_BUFFER_LEN;
    pub use crate::message::ReplyHead;
    pub use crate::parse::{check_json, parse_json};
    pub use crate::spelling::{split_reply, split_request};
}
