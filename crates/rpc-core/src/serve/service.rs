//! The [`Service`]: a registry and the limits of its connections, which a model serves.

use std::sync::Arc;
use std::time::Duration;

use rpc_proto::MAX_FRAME_LEN;

use crate::serve::connection::Connection;
use crate::serve::context::Context;
use crate::serve::exchange::{Ending, Exchange};
use crate::serve::lingering_close::LingeringClose;
use crate::serve::registry::Registry;
use crate::sys::buffers::Buffers;

/// A registry and the limits of its connections. Cheap to clone; clones share the registry.
#[derive(Clone, Debug)]
pub struct Service {
    pub(crate) registry: Arc<Registry>,
    pub(crate) max_frame_len: usize,
    pub(crate) first_request_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) frame_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) offers_stats: bool,
    pub(crate) default_deadline: Option<Duration>,
    pub(crate) max_deadline: Option<Duration>,
    /// Whether a call can have a deadline although its request has no timeout.
    pub(crate) has_deadlines: bool,
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

    /// The longest request body that is accepted, in bytes; default: 8 MiB. A longer one is
    /// answered with -32003, which contains the limit and its length, and the connection ends.
    /// Replies may be longer; the peer has its own limit for those.
    #[must_use]
    pub fn max_frame_len(mut self, bytes: usize) -> Service {
        self.max_frame_len = bytes;
        self
    }

    /// How long a connection may be silent before its first request; default: 10 s, and never
    /// longer than [`idle_timeout`](Service::idle_timeout). After that the peer gets -32005 and the
    /// connection is closed.
    ///
    /// A client that connects and sends nothing ties up a worker, a process or a thread;
    /// PostgreSQL's `authentication_timeout` has the same purpose.
    #[must_use]
    pub fn first_request_timeout(mut self, timeout: Duration) -> Service {
        self.first_request_timeout = timeout;
        self
    }

    /// How long a connection may be silent between two requests; default: 60 s. After that the peer
    /// gets -32005 and the connection is closed.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: Duration) -> Service {
        self.idle_timeout = timeout;
        self
    }

    /// How long a request may take to arrive completely once a part of it has come, in however many
    /// pieces; default: 10 s. After that the peer gets -32005 and the connection is closed.
    #[must_use]
    pub fn frame_timeout(mut self, timeout: Duration) -> Service {
        self.frame_timeout = timeout;
        self
    }

    /// How long the peer may take to read the replies of one write; default: 10 s. After that the
    /// connection is closed without an error, since the peer does not read.
    #[must_use]
    pub fn write_timeout(mut self, timeout: Duration) -> Service {
        self.write_timeout = timeout;
        self
    }

    /// Whether `rpc.stats` is answered; default: no, because it shows every client that can connect
    /// which processes serve, which methods are being called and how often. It shows no params, no
    /// results and no addresses. When it is off, a call gets -32601, as for an unknown method.
    #[must_use]
    pub fn with_stats(mut self, offered: bool) -> Service {
        self.offers_stats = offered;
        self
    }

    /// How long a call may take whose request has no timeout and whose method has no
    /// [deadline of its own](Registry::set_deadline); default: without a bound. `rpc-client` sends
    /// a timeout with every call, so only the method's deadline and the maximum bound its calls.
    ///
    /// The time of a call begins at its turn: when its whole request has come and all earlier
    /// requests of the connection are answered. When its deadline passes, the call is answered with
    /// -32001 while its handler still runs, and the connection ends; the handler can check
    /// [`Context::remaining`](crate::Context::remaining). What a handler that continues does to the
    /// server depends on the model: it blocks `single`, it occupies a thread of `thread`, and a
    /// forked process exits with the status [`EXIT_DEADLINE`](crate::EXIT_DEADLINE).
    ///
    /// Deadlines use SIGALRM and setitimer(2), so system calls of handlers that are not restarted
    /// (signal(7)) may fail with EINTR. A program that has its own handler for SIGALRM keeps it,
    /// unless it calls [`stop_on_signals`](crate::Acceptor::stop_on_signals). Where it keeps it,
    /// request handlers still see their deadlines, but these are not enforced, and an error is
    /// logged.
    #[must_use]
    pub fn default_deadline(mut self, deadline: Duration) -> Service {
        self.default_deadline = Some(deadline);
        self.has_deadlines = true;
        self
    }

    /// How long any call may take, even if its request or its method allows more; default: without
    /// a bound.
    #[must_use]
    pub fn max_deadline(mut self, deadline: Duration) -> Service {
        self.max_deadline = Some(deadline);
        self.has_deadlines = true;
        self
    }

    /// Serves one connection until the peer closes it, breaks a limit, or the server stops.
    ///
    /// Blocks until then. In steady state a call costs one read and one write; a peer that sends
    /// several requests at once gets their replies in one write.
    ///
    /// No mistake of the peer is an error here: a faulty request is answered with an error, and a
    /// failure of the connection ends it and is logged at the level `debug`.
    pub fn serve_conn(&self, conn: Connection) {
        conn.take_ownership();
        let peer = conn.peer();
        tracing::debug!(%peer, "connection opened");
        let mut buffers = conn.control().spare_buffers.take(self.max_frame_len);
        let Buffers { requests, replies } = &mut buffers;
        let context = Context::new(peer);
        let ending = Exchange { service: self, conn: &conn, context, replies }.run(requests);
        conn.control().spare_buffers.give_back(buffers);
        match ending {
            Ok(Ending::Close) => {}
            Ok(Ending::Linger) if conn.control().is_stopping() && !conn.has_unread() => {}
            Ok(Ending::Linger) => LingeringClose::after_last_reply(conn.into_socket()).wait(),
            Err(error) => tracing::debug!(%peer, %error, "connection failed"),
        }
        tracing::debug!(%peer, "connection closed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/wire.md lists them.
    #[test]
    fn the_default_limits_are_what_is_documented() {
        let service = Service::new(Registry::new());
        assert_eq!(service.max_frame_len, 8 << 20);
        assert_eq!(service.idle_timeout, Duration::from_secs(60));
        assert_eq!(service.frame_timeout, Duration::from_secs(10));
        assert_eq!(service.write_timeout, Duration::from_secs(10));
        assert_eq!((service.default_deadline, service.max_deadline), (None, None));
    }
}
