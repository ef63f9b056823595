//! Serving one connection: the registry with its limits, and the loop that every model calls.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use rpc_proto::internal::{ReplyHead, split_request};
use rpc_proto::stats::STATS;
use rpc_proto::{FrameWriter, MAX_FRAME_LEN, Request, Response, RpcError};

use crate::scoreboard::slot::Slot;
use crate::serve::connection::{Connection, Received};
use crate::serve::context::Context;
use crate::serve::lingering_close::LingeringClose;
use crate::serve::refusal::{deadline_was_over, timed_out};
use crate::serve::registry::{Answer, Found, Registry};
use crate::serve::socket::after;
use crate::serve::stats::{self, STATS_NUMBER};
use crate::sys::buffers::Buffers;

/// Replies are written when this many bytes wait, even if more requests are there already.
const FLUSH_LEN: usize = 64 * 1024;

/// How long a first prefix that may be in the wrong byte order waits for what follows it.
const DOUBT_TIME: Duration = Duration::from_millis(100);

/// A registry and the limits of its connections. Cheap to clone; clones share the registry.
#[derive(Clone, Debug)]
pub struct Service {
    registry: Arc<Registry>,
    max_frame_len: usize,
    first_request_timeout: Duration,
    idle_timeout: Duration,
    frame_timeout: Duration,
    write_timeout: Duration,
    offers_stats: bool,
    default_deadline: Option<Duration>,
    max_deadline: Option<Duration>,
    /// Whether a call may have a deadline that does not ask for one.
    has_deadlines: bool,
}

impl Service {
    /// The methods of `registry` with the default limits.
    pub fn new(registry: Registry) -> Service {
        Service {
            has_deadlines: registry.has_deadlines(),
            registry: Arc::new(registry),
            max_frame_len: MAX_FRAME_LEN,
            first_request_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            frame_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(10),
            offers_stats: false,
            default_deadline: None,
            max_deadline: None,
        }
    }

    /// The longest request body that is read, in bytes; 8 MiB unless told. A longer one is
    /// answered with -32003, the limit and its length, and the connection ends. Replies may be
    /// longer: the peer's own limit decides about those.
    #[must_use]
    pub fn max_frame_len(mut self, bytes: usize) -> Service {
        self.max_frame_len = bytes;
        self
    }

    /// How long a connection may be silent before its first request; 10 s unless told, and never
    /// longer than [`idle_timeout`](Service::idle_timeout). Then it is told -32005 and closed.
    ///
    /// Who connects and says nothing keeps a worker, a process or a thread from others;
    /// PostgreSQL's `authentication_timeout` is for the same.
    #[must_use]
    pub fn first_request_timeout(mut self, timeout: Duration) -> Service {
        self.first_request_timeout = timeout;
        self
    }

    /// How long a connection may be silent between two requests; 60 s unless told. Then it is
    /// told -32005 and closed.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Service {
        self.idle_timeout = timeout;
        self
    }

    /// How long a whole request may take to arrive once a part of it has come, in however many
    /// pieces; 10 s unless told. Then the peer is told -32005 and the connection ends.
    #[must_use]
    pub fn frame_timeout(mut self, timeout: Duration) -> Service {
        self.frame_timeout = timeout;
        self
    }

    /// How long the peer may take to accept the replies that are written at once; 10 s unless
    /// told. Then the connection ends without a word, since nobody reads.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Service {
        self.write_timeout = timeout;
        self
    }

    /// Whether `rpc.stats` is answered; not unless told, for it tells every client that can connect
    /// which processes serve, which methods are being called and how often. It tells no params, no
    /// results and no addresses. Who may not call it is answered that there is no such method.
    #[must_use]
    pub fn with_stats(mut self, offered: bool) -> Service {
        self.offers_stats = offered;
        self
    }

    /// How long a call may take that does not say so itself, and whose method has no
    /// [deadline of its own](Registry::set_deadline); without a bound unless told. `rpc-client`
    /// says in every call how long it waits, so its calls are bounded by the other two only.
    ///
    /// The time of a call begins at its turn: when its whole request is there and the requests
    /// before it on the same connection are answered. A call whose time is up is answered with
    /// -32001 while its handler still runs, and its connection ends; the handler may look at
    /// [`Context::remaining`]. What becomes of a handler that goes on is the model's: it blocks
    /// `single`, a thread is lost to it, and a forked process ends with the status
    /// [`EXIT_DEADLINE`](crate::EXIT_DEADLINE).
    ///
    /// Deadlines use SIGALRM and setitimer(2): system calls of handlers that are not restarted,
    /// see signal(7), may end with EINTR. A program with a handler of its own for SIGALRM keeps
    /// it, unless it has asked for [`stop_on_signals`](crate::Acceptor::stop_on_signals); the
    /// deadlines are then handed to the handlers and not enforced, which is logged.
    #[must_use]
    pub fn default_deadline(mut self, deadline: Duration) -> Service {
        self.default_deadline = Some(deadline);
        self.has_deadlines = true;
        self
    }

    /// How long any call may take, whatever the request or the method says; without a bound unless
    /// told.
    #[must_use]
    pub fn max_deadline(mut self, deadline: Duration) -> Service {
        self.max_deadline = Some(deadline);
        self.has_deadlines = true;
        self
    }

    /// Serves one connection until the peer closes it, breaks a limit, or the server stops.
    ///
    /// Blocks for as long as that takes. In steady state a call costs one read and one write; a
    /// peer that sends several requests at once gets their replies in one write.
    ///
    /// Nothing that the peer does ends in an error here: what is wrong with a request is answered,
    /// what is wrong with the connection ends it and is logged at the level `debug`.
    pub fn serve_conn(&self, conn: Connection) {
        conn.adopt();
        let peer = conn.peer();
        tracing::debug!(%peer, "connection opened");
        let mut buffers = conn.spare_buffers().take(self.max_frame_len);
        let ending = self.exchange(&conn, &mut buffers);
        conn.spare_buffers().give_back(buffers);
        match ending {
            Ok(Ending::Silent) => {}
            Ok(Ending::Refused) if conn.is_stopping() && !conn.has_unread() => {}
            Ok(Ending::Refused) => linger(conn),
            Err(error) => tracing::debug!(%peer, %error, "connection failed"),
        }
        tracing::debug!(%peer, "connection closed");
    }

    fn exchange(&self, conn: &Connection, buffers: &mut Buffers) -> io::Result<Ending> {
        let Buffers { requests, replies } = buffers;
        let mut patience = self.first_request_timeout.min(self.idle_timeout);
        conn.begin(patience)?;
        let mut context = Context::new(conn.peer());
        let mut frame_deadline = None;
        let mut doubt_deadline = None;
        let refusal = loop {
            match requests.next_frame() {
                Ok(Some(body)) => {
                    frame_deadline = None;
                    if patience < self.idle_timeout {
                        patience = self.idle_timeout;
                        conn.wait_for_requests(patience)?;
                    }
                    if !self.answer(body, &mut context, conn, replies) {
                        return Ok(Ending::Refused);
                    }
                    conn.count_call();
                    if replies.as_bytes().len() >= FLUSH_LEN {
                        conn.send(replies, self.write_timeout)?;
                    }
                    continue;
                }
                Ok(None) => {}
                Err(broken) => {
                    // A big-endian client may have sent its prefix alone.
                    let deadline = *doubt_deadline.get_or_insert_with(|| after(DOUBT_TIME));
                    if requests.is_in_doubt() && conn.receive_until(requests, deadline)? {
                        continue;
                    }
                    break RpcError::from(&broken);
                }
            }
            conn.send(replies, self.write_timeout)?;
            match conn.receive(requests, replies, &mut frame_deadline, self.frame_timeout)? {
                Received::Bytes => {}
                Received::EndOfStream if conn.is_stopping() => {
                    conn.say_goodbye(replies, self.write_timeout)?;
                    return Ok(Ending::Refused);
                }
                Received::EndOfStream => {
                    if let Err(error) = requests.end_of_stream() {
                        tracing::debug!(peer = %conn.peer(), %error, "connection broken");
                    }
                    return Ok(Ending::Silent);
                }
                Received::NoRequest => break timed_out("no request came", patience),
                Received::NoWholeFrame => {
                    break timed_out("the rest of a request did not come", self.frame_timeout);
                }
            }
        };
        tracing::debug!(peer = %conn.peer(), reason = %refusal, "connection refused");
        conn.scoreboard().counters().count_refused(refusal.code);
        Response::append_error(replies, &refusal);
        conn.send(replies, self.write_timeout)?;
        Ok(Ending::Refused)
    }

    /// Appends the one reply to the request in `body`. `false`: somebody else has answered it, and
    /// the connection is theirs.
    #[inline]
    fn answer(
        &self,
        body: &[u8],
        context: &mut Context,
        conn: &Connection,
        replies: &mut FrameWriter,
    ) -> bool {
        let slot = conn.slot();
        let waiting = replies.as_bytes();
        let waiting_len = waiting.len();
        slot.begin_handling(waiting);
        let dispatched =
            catch_unwind(AssertUnwindSafe(|| self.dispatch(body, context, conn, slot, replies)));
        let refusal = match dispatched {
            Ok(Ok(())) if slot.is_answered() => {
                slot.wait_while_held();
                return false;
            }
            Ok(Ok(())) => return true,
            Ok(Err(refusal)) => refusal,
            Err(panic) => {
                log_panic(&*panic);
                let has_replied = replies.as_bytes().len() > waiting_len;
                if has_replied {
                    // A destructor of the result panicked, behind its reply.
                    return true;
                }
                RpcError::internal("the handler panicked")
            }
        };
        let ours = slot.finish_handling();
        if ours {
            Response::append_error(replies, &refusal);
        } else {
            slot.wait_while_held();
        }
        ours
    }

    /// Finds the handler and calls it. An error is the reason why no handler was called.
    #[inline]
    fn dispatch(
        &self,
        body: &[u8],
        context: &mut Context,
        conn: &Connection,
        slot: &Slot,
        replies: &mut FrameWriter,
    ) -> Result<(), RpcError> {
        // One pass over the params: the handler's own type parses them and thereby checks that
        // the body is JSON. Whatever is unusual or wrong takes the way below.
        if let Ok(text) = std::str::from_utf8(body)
            && let Some((name, asked, params)) = split_request(text)
            && let Some(method) = self.registry.find(name)
            && self.begin_time(asked, &method, context, conn).is_ok()
            && method.call(params, context, slot, replies).is_ok()
        {
            return Ok(());
        }
        self.dispatch_unusual(body, context, conn, slot, replies)
    }

    /// Not inlined, so that a usual request needs little stack: a child of a fork copies each page
    /// of it that it writes.
    #[cold]
    #[inline(never)]
    fn dispatch_unusual(
        &self,
        body: &[u8],
        context: &mut Context,
        conn: &Connection,
        slot: &Slot,
        replies: &mut FrameWriter,
    ) -> Result<(), RpcError> {
        let request = Request::parse(body)?;
        let Some(method) = self.registry.find(&request.method) else {
            return match self.offers_stats && request.method == STATS.name() {
                true => self.give_stats(&request, conn, replies),
                false => Err(RpcError::method_not_found(&request.method)),
            };
        };
        self.begin_time(request.timeout, &method, context, conn)?;
        let called = method.call(request.params.get(), context, slot, replies);
        called.map_err(|error| {
            RpcError::invalid_params(format_args!("params of `{}`: {error}", request.method))
        })
    }

    #[cold]
    fn give_stats(
        &self,
        request: &Request<'_>,
        conn: &Connection,
        replies: &mut FrameWriter,
    ) -> Result<(), RpcError> {
        let slot = conn.slot();
        if request.params.get() != "null" {
            return Err(RpcError::invalid_params(format_args!("`{}` takes none", STATS.name())));
        }
        slot.calls.enter(STATS_NUMBER);
        let reply_head = &ReplyHead::new(STATS.kind());
        let stats = stats::look(conn.scoreboard(), &self.registry);
        Answer { reply_head, slot, replies }.give(Ok(stats));
        Ok(())
    }

    /// Begins the time of a call, if it has a deadline. An error: it is over already.
    #[inline]
    fn begin_time(
        &self,
        asked: Option<Duration>,
        method: &Found<'_>,
        context: &mut Context,
        conn: &Connection,
    ) -> Result<(), RpcError> {
        context.deadline = None;
        match self.has_deadlines || asked.is_some() {
            true => self.begin_limited_time(asked, method, context, conn),
            false => Ok(()),
        }
    }

    /// The deadline is the nearest of the request's, the method's and the maximum; the default is
    /// for calls that have neither of the first two.
    #[inline(never)]
    fn begin_limited_time(
        &self,
        asked: Option<Duration>,
        method: &Found<'_>,
        context: &mut Context,
        conn: &Connection,
    ) -> Result<(), RpcError> {
        let said = nearest(asked, method.deadline());
        match nearest(said.or(self.default_deadline), self.max_deadline) {
            None => {}
            Some(Duration::ZERO) => return Err(deadline_was_over()),
            Some(limit) => context.deadline = Some(conn.limit_call(limit)),
        }
        Ok(())
    }
}

#[inline]
fn nearest(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cold]
fn linger(conn: Connection) {
    LingeringClose::after_last_reply(conn.into_socket()).wait();
}

#[cold]
fn log_panic(panic: &(dyn Any + Send)) {
    tracing::error!(message = panic_message(panic), "handler panicked");
}

/// How a connection ends that did not fail.
enum Ending {
    /// Everything was said, or there is nobody to say it to.
    Silent,
    /// The last reply says why, and the peer should be given the time to read it.
    Refused,
}

/// The text of a panic that has one.
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no message)")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As docs/wire.md lists them.
    #[test]
    fn the_limits_are_what_is_documented_unless_told() {
        let service = Service::new(Registry::new());
        assert_eq!(service.max_frame_len, 8 << 20);
        assert_eq!(service.idle_timeout, Duration::from_secs(60));
        assert_eq!(service.frame_timeout, Duration::from_secs(10));
        assert_eq!(service.write_timeout, Duration::from_secs(10));
        assert_eq!((service.default_deadline, service.max_deadline), (None, None));
    }
}
