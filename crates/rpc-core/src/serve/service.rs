//! A registry with the limits of its connections: what a model is given to serve.

use std::sync::Arc;
use std::time::Duration;

use rpc_proto::MAX_FRAME_LEN;

use crate::serve::connection::Connection;
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
    /// Whether a call may have a deadline that does not ask for one.
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
        conn.take_ownership();
        let peer = conn.peer();
        tracing::debug!(%peer, "connection opened");
        let mut buffers = conn.control().spare_buffers.take(self.max_frame_len);
        let Buffers { requests, replies } = &mut buffers;
        let ending = Exchange::new(self, &conn, replies).run(requests);
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
