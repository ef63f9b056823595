//! The connection and its calls.

use std::io;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rpc_proto::internal::{parse_json, split_reply};
use rpc_proto::{
    Address, ERROR_KIND, ErrorCode, FrameReader, FrameWriter, MAX_FRAME_LEN, MessageError, Method,
    Request, Response, RpcError,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::error::CallError;
use crate::executed::{Executed, SERVER_CODES};
use crate::stream;

/// The time-out set on the socket may differ from the wanted one by a millisecond, or by the wanted
/// one divided by this if that is more, so that a call in steady state needs no system call to set
/// it.
const TIMEOUT_PRECISION: u32 = 100;

/// Serialising a request of more bytes than this takes a noticeable part of the call's time.
const LONG_REQUEST: usize = 16 * 1024;

/// The longest time-out that a request can carry. A longer one is not sent.
const LONGEST_TIMEOUT: Duration = Duration::from_millis(u64::MAX);

/// How to connect, and how long to wait.
///
/// ```no_run
/// use std::time::Duration;
/// use rpc_client::Client;
///
/// let address = "127.0.0.1:8080".parse()?;
/// let client = Client::builder().call_timeout(Duration::from_secs(2)).connect(&address)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "a builder does nothing until `connect`"]
pub struct ClientBuilder {
    pub(crate) connect_timeout: Duration,
    pub(crate) call_timeout: Duration,
    idle_timeout: Duration,
    max_frame_len: usize,
}

impl Default for ClientBuilder {
    fn default() -> ClientBuilder {
        ClientBuilder {
            connect_timeout: Duration::from_secs(10),
            call_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(50),
            max_frame_len: MAX_FRAME_LEN,
        }
    }
}

impl ClientBuilder {
    /// How long connecting may take, over all addresses of the host (default: 10 s). The system's
    /// lookup of the host name is not bounded by it.
    pub fn connect_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.connect_timeout = timeout;
        self
    }

    /// How long a call may take, from serialising its params to receiving the last byte of the
    /// reply (default: 30 s). Exact to one per cent, or to some milliseconds if that is more; the
    /// time of a `Serialize` that is slow for a few bytes is not counted. Every request carries it
    /// to the server (`timeout_ms` in docs/wire.md).
    pub fn call_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.call_timeout = timeout;
        self
    }

    /// How long the connection may be idle between two calls (default: 50 s); zero means that it
    /// serves one call only. A later call fails with [`CallError::Idle`] and sends nothing.
    ///
    /// Servers close a connection that is silent for 60 s, and routers and firewalls drop one
    /// without notice. If that happens while a request is on its way, nothing tells whether the
    /// call was executed. So stay some seconds below the server's own limit.
    pub fn idle_timeout(mut self, timeout: Duration) -> ClientBuilder {
        self.idle_timeout = timeout;
        self
    }

    /// The longest reply body that is accepted, in bytes (default: 8 MiB).
    pub fn max_frame_len(mut self, bytes: usize) -> ClientBuilder {
        self.max_frame_len = bytes;
        self
    }

    /// Connects. Blocks until connected, refused, or out of time.
    ///
    /// # Errors
    ///
    /// [`CallError::Connect`].
    pub fn connect(self, address: &Address) -> Result<Client, CallError> {
        let connect_error = |source| CallError::Connect { address: address.clone(), source };
        let stream = stream::connect(address, self.connect_timeout).map_err(connect_error)?;
        Ok(Client {
            stream,
            requests: FrameWriter::new(),
            replies: FrameReader::new(self.max_frame_len),
            settings: self,
            last_used: None,
            read_timeout: Duration::MAX,
            write_timeout: Duration::MAX,
            usable: true,
        })
    }
}

/// A reply whose kind and result were not checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RawReply {
    /// The field `out`.
    pub kind: String,
    /// The field `result`, exactly as received.
    pub result: Box<RawValue>,
}

/// One connection to a server. Calls are made one after the other.
///
/// After a time-out, a close or broken framing the connection is not used again, because replies
/// come in the order of the requests and a late one could be taken for the next one: every further
/// call fails with [`CallError::Unusable`]. Dropping a client closes the connection and does not
/// block.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    requests: FrameWriter,
    replies: FrameReader,
    settings: ClientBuilder,
    /// `None` before the first call.
    last_used: Option<Instant>,
    /// Those of the socket are at most as long; `Duration::MAX` is none.
    read_timeout: Duration,
    write_timeout: Duration,
    usable: bool,
}

impl Client {
    /// Connects with the default time-outs: 10 s to connect, 30 s for a call, 50 s idle. Blocks
    /// until connected, refused, or out of time.
    ///
    /// # Errors
    ///
    /// [`CallError::Connect`].
    pub fn connect(address: &Address) -> Result<Client, CallError> {
        Client::builder().connect(address)
    }

    /// A builder, for other time-outs and limits.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Changes how long the following calls may take; see [`ClientBuilder::call_timeout`].
    pub fn set_call_timeout(&mut self, timeout: Duration) {
        self.settings.call_timeout = timeout;
    }

    /// Whether the next call will be sent. `false` after an error that left a reply outstanding,
    /// and after the connection was idle for too long; then connect again.
    pub fn is_usable(&self) -> bool {
        self.check_usable(Instant::now()).is_ok()
    }

    /// Whether nothing has arrived since the last call: no unsolicited reply, no refusal, no end of
    /// the stream. Does not block.
    pub(crate) fn is_silent(&self) -> bool {
        stream::is_silent(&self.stream)
    }

    /// Calls a typed method. Blocks until the reply is there, at most for the call time-out.
    ///
    /// # Errors
    ///
    /// Any [`CallError`] except `Connect`.
    pub fn call<P: Serialize, R: DeserializeOwned>(
        &mut self,
        method: Method<P, R>,
        params: &P,
    ) -> Result<R, CallError> {
        let body = self.exchange(method.name(), params)?;
        // One pass over the result if the reply has the usual spelling.
        if let Ok(text) = std::str::from_utf8(body)
            && let Some((kind, result)) = split_reply(text)
            && kind == method.kind()
            && let Ok(result) = parse_json(result)
        {
            return Ok(result);
        }
        let result = read_reply(body).and_then(|reply| {
            if reply.kind != method.kind() {
                let (expected, received) = (method.kind().to_owned(), reply.kind.into_owned());
                return Err(CallError::Kind { expected, received });
            }
            parse_json(reply.result.get()).map_err(CallError::Result)
        });
        self.heed_closing_error(result)
    }

    /// Calls any method with any params and returns the reply unchecked. Blocks as
    /// [`call`](Client::call) does.
    ///
    /// # Errors
    ///
    /// Any [`CallError`] except `Connect`, `Kind` and `Result`.
    pub fn call_raw<P: Serialize + ?Sized>(
        &mut self,
        method: &str,
        params: &P,
    ) -> Result<RawReply, CallError> {
        let body = self.exchange(method, params)?;
        let result = read_reply(body).map(|reply| RawReply {
            kind: reply.kind.into_owned(),
            result: reply.result.to_owned(),
        });
        self.heed_closing_error(result)
    }

    /// One request out, the body of one reply in.
    fn exchange<P: Serialize + ?Sized>(
        &mut self,
        method: &str,
        params: &P,
    ) -> Result<&[u8], CallError> {
        let mut time = CallTime {
            started: Instant::now(),
            limit: self.settings.call_timeout,
            has_passed: false,
        };
        // The error with which the server closed may have come together with the last reply.
        if self.usable
            && self.replies.buffered_len() > 0
            && let Some(closing_error) = self.read_closing_error()
        {
            return Err(closing_error);
        }
        self.check_usable(time.started)?;
        self.requests
            .append(|body| match time.limit {
                limit if limit > LONGEST_TIMEOUT => Request::encode(body, method, params),
                limit => Request::encode_with_timeout(body, method, limit, params),
            })
            .map_err(CallError::Params)?;
        time.has_passed = self.requests.as_bytes().len() > LONG_REQUEST;
        // Whatever ends the exchange early leaves the connection in an unknown state.
        self.usable = false;
        let sent = self.send(&mut time);
        self.requests.clear();
        match sent {
            // The server may have sent the reason before it closed.
            Err(CallError::NotSent(_)) if self.receive(&mut time).is_ok() => {}
            sent => {
                sent?;
                self.receive(&mut time)?;
                self.usable = true;
                self.last_used = Some(Instant::now());
            }
        }
        let body = self.replies.next_frame().map_err(CallError::Frame)?;
        Ok(body.expect("`receive` returns when a frame is there"))
    }

    fn heed_closing_error<R>(&mut self, result: Result<R, CallError>) -> Result<R, CallError> {
        self.usable &= !result.as_ref().is_err_and(closes_the_connection);
        result
    }

    /// The error behind which the server closes, if that is what was received.
    #[cold]
    fn read_closing_error(&mut self) -> Option<CallError> {
        self.usable = false;
        let error = read_reply(self.replies.next_frame().ok()??).err()?;
        closes_the_connection(&error).then_some(error)
    }

    pub(crate) fn check_usable(&self, now: Instant) -> Result<(), CallError> {
        // An unsolicited reply would be taken for the answer to the next request.
        let has_unsolicited_bytes = self.replies.buffered_len() > 0;
        if !self.usable || has_unsolicited_bytes {
            return Err(CallError::Unusable);
        }
        let idle = self.last_used.map(|at| now.saturating_duration_since(at));
        let limit = self.settings.idle_timeout;
        if idle.is_some_and(|time| time > limit) {
            return Err(CallError::Idle { limit });
        }
        Ok(())
    }

    /// An error means that the server has not received the whole request and never will.
    fn send(&mut self, time: &mut CallTime) -> Result<(), CallError> {
        let mut sent = 0;
        while sent < self.requests.as_bytes().len() {
            let left = time.left(Executed::No)?;
            let rest = &self.requests.as_bytes()[sent..];
            let written = if time.has_passed {
                if needs_setting(self.write_timeout, left) {
                    self.stream.set_write_timeout(Some(left)).map_err(CallError::NotSent)?;
                    self.write_timeout = left;
                }
                self.stream.write(rest)
            } else {
                stream::write_now(&self.stream, rest)
            };
            match written {
                Ok(count) => {
                    time.has_passed |= count < rest.len();
                    sent += count;
                }
                Err(error) if is_interruption_or_timeout(&error) => time.has_passed = true,
                Err(error) => return Err(CallError::NotSent(error)),
            }
        }
        Ok(())
    }

    /// Reads until a whole frame has been received.
    fn receive(&mut self, time: &mut CallTime) -> Result<(), CallError> {
        while !self.replies.frame_is_ready() {
            let left = time.left(Executed::Maybe)?;
            if needs_setting(self.read_timeout, left) {
                self.stream.set_read_timeout(Some(left)).map_err(CallError::Closed)?;
                self.read_timeout = left;
            }
            let read = self.replies.read_from(&mut self.stream);
            time.has_passed = true;
            match read {
                Ok(0) => {
                    self.replies.end_of_stream().map_err(CallError::Frame)?;
                    return Err(CallError::Closed(io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(_) => {}
                Err(error) if is_interruption_or_timeout(&error) => {}
                Err(error) => return Err(CallError::Closed(error)),
            }
        }
        Ok(())
    }
}

/// The time of one call. Before anything has waited, all of it is left and the clock is not read
/// again.
struct CallTime {
    started: Instant,
    limit: Duration,
    has_passed: bool,
}

impl CallTime {
    #[inline]
    fn left(&self, executed: Executed) -> Result<Duration, CallError> {
        let left = match self.has_passed {
            false => self.limit,
            true => self.limit.saturating_sub(self.started.elapsed()),
        };
        if left.is_zero() {
            return Err(CallError::TimedOut { limit: self.limit, executed });
        }
        Ok(left)
    }
}

/// The reply in a frame's body, or the error that it reports.
fn read_reply(body: &[u8]) -> Result<Response<'_>, CallError> {
    let reply = Response::parse(body).map_err(CallError::Message)?;
    if reply.kind != ERROR_KIND {
        return Ok(reply);
    }
    Err(match serde_json::from_str::<RpcError>(reply.result.get()) {
        Ok(error) => CallError::Rpc(error),
        Err(source) => CallError::Message(MessageError::NotAMessage { expected: "reply", source }),
    })
}

/// Whether the server closes the connection after this error, perhaps a moment later; a request
/// sent meanwhile would be lost. Unknown codes in the server's range count too, to be on the safe
/// side.
fn closes_the_connection(error: &CallError) -> bool {
    error.rpc_error().is_some_and(|error| {
        SERVER_CODES.contains(&error.code)
            && error.known_code() != Some(ErrorCode::DeadlineExceeded)
    })
}

#[inline]
fn needs_setting(current: Duration, wanted: Duration) -> bool {
    let precision = || (wanted / TIMEOUT_PRECISION).max(Duration::from_millis(1));
    current != wanted && current.abs_diff(wanted) > precision()
}

fn is_interruption_or_timeout(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}
