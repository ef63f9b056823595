//! The requests and replies of one connection: the loop that every model runs.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use rpc_proto::internal::{ReplyHead, split_request};
use rpc_proto::stats::STATS;
use rpc_proto::{FrameReader, FrameWriter, Request, Response, RpcError};

use crate::serve::connection::{Connection, Received};
use crate::serve::context::Context;
use crate::serve::refusal::{deadline_was_over, timed_out};
use crate::serve::registry::{Found, Responder};
use crate::serve::service::Service;
use crate::serve::socket::after;
use crate::serve::stats::{self, STATS_NUMBER};

/// Pending replies are written at this many bytes, even if more requests have been received.
const FLUSH_LEN: usize = 64 * 1024;

/// How long a first length prefix that may be in the wrong byte order waits for more bytes, which
/// show whether it is.
const PREFIX_TIMEOUT: Duration = Duration::from_millis(100);

/// How to close a connection that did not fail.
pub(crate) enum Ending {
    /// At once: the peer got everything, or has closed.
    Close,
    /// After a while: the last reply says why the connection ends, and the peer needs time to read
    /// it.
    Linger,
}

/// The state of one connection while it is served.
pub(crate) struct Exchange<'a> {
    pub(crate) service: &'a Service,
    pub(crate) conn: &'a Connection,
    pub(crate) context: Context,
    pub(crate) replies: &'a mut FrameWriter,
}

impl Exchange<'_> {
    /// Answers requests until the peer closes the connection, breaks a limit, or the server stops.
    /// Blocks until then.
    pub(crate) fn run(&mut self, requests: &mut FrameReader) -> io::Result<Ending> {
        let (service, conn) = (self.service, self.conn);
        let mut idle_timeout = service.first_request_timeout.min(service.idle_timeout);
        conn.begin(idle_timeout)?;
        let mut frame_deadline = None;
        let mut prefix_deadline = None;
        let refusal = loop {
            match requests.next_frame() {
                Ok(Some(body)) => {
                    frame_deadline = None;
                    if idle_timeout < service.idle_timeout {
                        idle_timeout = service.idle_timeout;
                        conn.set_idle_timeout(idle_timeout)?;
                    }
                    if !self.answer(body) {
                        return Ok(Ending::Linger);
                    }
                    conn.control().reports.count_call();
                    if self.replies.as_bytes().len() >= FLUSH_LEN {
                        conn.send(self.replies, service.write_timeout)?;
                    }
                    continue;
                }
                Ok(None) => {}
                Err(broken) => {
                    // A big-endian client may have sent its prefix alone.
                    let deadline = *prefix_deadline.get_or_insert_with(|| after(PREFIX_TIMEOUT));
                    if requests.is_in_doubt() && conn.receive_until(requests, deadline)? {
                        continue;
                    }
                    break RpcError::from(&broken);
                }
            }
            conn.send(self.replies, service.write_timeout)?;
            let frame_timeout = service.frame_timeout;
            match conn.receive(requests, self.replies, &mut frame_deadline, frame_timeout)? {
                Received::Bytes => {}
                Received::EndOfStream if conn.control().is_stopping() => {
                    conn.send_shutting_down(self.replies, service.write_timeout)?;
                    return Ok(Ending::Linger);
                }
                Received::EndOfStream => {
                    if let Err(error) = requests.end_of_stream() {
                        tracing::debug!(peer = %conn.peer(), %error, "connection broken");
                    }
                    return Ok(Ending::Close);
                }
                Received::IdleTimeout => break timed_out("no request came", idle_timeout),
                Received::FrameTimeout => {
                    break timed_out("the rest of a request did not come", frame_timeout);
                }
            }
        };
        tracing::debug!(peer = %conn.peer(), reason = %refusal, "connection refused");
        conn.control().scoreboard.counters().count_refused(refusal.code);
        Response::append_error(self.replies, &refusal);
        conn.send(self.replies, service.write_timeout)?;
        Ok(Ending::Linger)
    }

    /// Appends the one reply to the request in `body`. `false` if another thread or a signal
    /// handler has answered it: then nothing more may be sent on the connection.
    #[inline]
    fn answer(&mut self, body: &[u8]) -> bool {
        let slot = self.conn.slot();
        let waiting = self.replies.as_bytes();
        let waiting_len = waiting.len();
        slot.begin_handling(waiting);
        let refusal = match catch_unwind(AssertUnwindSafe(|| self.dispatch(body))) {
            Ok(Ok(())) if slot.is_taken_over() => {
                slot.wait_while_held();
                return false;
            }
            Ok(Ok(())) => return true,
            Ok(Err(refusal)) => refusal,
            Err(panic) => {
                log_panic(panic);
                let has_replied = self.replies.as_bytes().len() > waiting_len;
                if has_replied {
                    // A destructor of the result panicked after the reply was written.
                    return true;
                }
                RpcError::internal("the handler panicked")
            }
        };
        let is_ours = slot.finish_handling();
        if is_ours {
            Response::append_error(self.replies, &refusal);
        } else {
            slot.wait_while_held();
        }
        is_ours
    }

    /// Finds the handler and calls it. An error says why no handler was called.
    #[inline]
    fn dispatch(&mut self, body: &[u8]) -> Result<(), RpcError> {
        // One pass over the params: the handler's own type parses them and thereby checks that
        // the body is JSON. Every unusual or wrong request takes the slow path below.
        if let Ok(text) = std::str::from_utf8(body)
            && let Some((name, asked, params)) = split_request(text)
            && let Some(method) = self.service.registry.find(name)
            && self.begin_time(asked, &method).is_ok()
            && self.call(&method, params).is_ok()
        {
            return Ok(());
        }
        self.dispatch_unusual(body)
    }

    /// Not inlined, so that a usual request needs little stack: a forked child copies each page of
    /// the stack that it writes.
    #[cold]
    #[inline(never)]
    fn dispatch_unusual(&mut self, body: &[u8]) -> Result<(), RpcError> {
        let request = Request::parse(body)?;
        let Some(method) = self.service.registry.find(&request.method) else {
            return match self.service.offers_stats && request.method == STATS.name() {
                true => self.answer_stats(request.params.get()),
                false => Err(RpcError::method_not_found(&request.method)),
            };
        };
        self.begin_time(request.timeout, &method)?;
        self.call(&method, request.params.get()).map_err(|error| {
            RpcError::invalid_params(format_args!("params of `{}`: {error}", request.method))
        })
    }

    /// Sets the deadline of the call, if it has one; `asked` is the request's. An error if it has
    /// passed already.
    #[inline]
    fn begin_time(&mut self, asked: Option<Duration>, method: &Found<'_>) -> Result<(), RpcError> {
        self.context.deadline = None;
        match self.service.has_deadlines || asked.is_some() {
            true => self.begin_limited_time(asked, method),
            false => Ok(()),
        }
    }

    /// The shortest of the request's, the method's and the maximum counts; the default is for calls
    /// without either of the first two.
    #[inline(never)]
    fn begin_limited_time(
        &mut self,
        asked: Option<Duration>,
        method: &Found<'_>,
    ) -> Result<(), RpcError> {
        let own_limit = shortest(asked, method.deadline());
        match shortest(own_limit.or(self.service.default_deadline), self.service.max_deadline) {
            None => {}
            Some(Duration::ZERO) => return Err(deadline_was_over()),
            Some(limit) => self.context.deadline = Some(self.conn.limit_call(limit)),
        }
        Ok(())
    }

    #[inline]
    fn call(&mut self, method: &Found<'_>, params: &str) -> Result<(), serde_json::Error> {
        method.call(params, &self.context, self.conn.slot(), self.replies)
    }

    #[cold]
    fn answer_stats(&mut self, params: &str) -> Result<(), RpcError> {
        if params != "null" {
            return Err(RpcError::invalid_params(format_args!("`{}` takes none", STATS.name())));
        }
        let slot = self.conn.slot();
        slot.calls.set_method(STATS_NUMBER);
        let reply_head = &ReplyHead::new(STATS.kind());
        let stats = stats::snapshot(&self.conn.control().scoreboard, &self.service.registry);
        Responder { reply_head, slot, replies: self.replies }.respond(Ok(stats));
        Ok(())
    }
}

#[inline]
fn shortest(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    one.into_iter().chain(other).min()
}

#[cold]
fn log_panic(panic: Box<dyn Any + Send>) {
    tracing::error!(message = panic_message(&*panic), "handler panicked");
    // Its destructor may panic as well.
    catch_unwind(AssertUnwindSafe(|| drop(panic))).unwrap_or_else(std::mem::forget);
}

/// The text of a panic that has one.
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}
