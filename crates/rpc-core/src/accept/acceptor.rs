//! The bound socket and the stop: everything about accepting that a model need not show.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use rpc_proto::{Address, RpcError};

use crate::accept::closing::ListeningSocket;
use crate::accept::hooks::Hooks;
use crate::accept::rejecting::Rejecting;
use crate::accept::wait::{EventSource, Ready, wait};
use crate::error::ServeError;
use crate::scoreboard::table::MAX_CONNECTIONS;
use crate::serve::connection::Connection;
use crate::serve::context::Peer;
use crate::serve::refusal::{access_denied, busy};
use crate::serve::server::Server;
use crate::stop::control::{Control, Shutdown};
use crate::stop::signals::stop_on_signals;
use crate::stop::status_pipe::READY;
use crate::stop::supervision::Supervision;
use crate::sys::pid::own_pid;

/// A bound socket that hands out connections until it is told to stop.
///
/// A model pulls: its loop is `while let Some(conn) = acceptor.accept()? { … }`. Interrupted
/// calls, connections that died in the queue, running out of descriptors, stop signals and the
/// lingering closes of rejected peers are dealt with in here.
pub struct Acceptor {
    /// `None` once the listening has ended.
    pub(crate) listening: Option<ListeningSocket>,
    pub(crate) rejecting: Rejecting,
    pub(crate) hooks: Hooks,
    address: Address,
    has_begun: bool,
    /// The users whose processes are served; `None` is everybody.
    allowed_uids: Option<Vec<u32>>,
    /// Whether workers accept, each waiting in accept(2), where the kernel wakes one of them for
    /// a connection. In poll(2) it would wake all.
    is_shared: bool,
    /// Whether accept(2) did not wait although it should, because another process that has the
    /// socket wants it so.
    must_poll: bool,
    pub(crate) server: Server,
}

impl Acceptor {
    /// Lets SIGTERM and SIGINT stop the server; a second SIGINT ends the process at once.
    ///
    /// Signal handlers belong to the whole process: of several acceptors, the one that asked last
    /// is stopped. When the grace is over and handlers still run, their callers are told and the
    /// process ends with the status [`EXIT_GRACE_EXPIRED`](crate::EXIT_GRACE_EXPIRED); SIGALRM and
    /// setitimer(2) serve for that.
    ///
    /// It also lets the process answer before it crashes: the callers whose handlers run get -32004
    /// before the process dies as it would have died anyway. A handler for SIGSEGV or the like that
    /// the program installed earlier is called after that.
    ///
    /// When `serve` has returned and no handler runs, the signals are given back.
    ///
    /// # Errors
    ///
    /// [`ServeError::Signals`] when sigaction(2) fails.
    pub fn stop_on_signals(self) -> Result<Acceptor, ServeError> {
        stop_on_signals(self.control()).map_err(ServeError::Signals)?;
        Ok(self)
    }

    /// How long requests in flight may take once the server was told to stop; default: 30 s.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Acceptor {
        self.control().set_grace(grace);
        self
    }

    /// Serves only processes of these users, by their effective user id when they connected to
    /// the Unix socket (SO_PEERCRED, unix(7)). All others are rejected with -32007: also root and
    /// the server's own user if they are not listed, and every TCP peer, whose user nobody knows.
    ///
    /// In a user namespace, users of the outside that have no number there appear as 65534.
    #[must_use]
    pub fn with_allowed_uids(mut self, uids: impl IntoIterator<Item = u32>) -> Acceptor {
        self.allowed_uids = Some(uids.into_iter().collect());
        self
    }

    /// Calls `hook` once, when connections are accepted: before the first `accept` of a model that
    /// accepts by itself, when all workers are ready in prefork. In this process, between two
    /// connections, so it should not block for long.
    ///
    /// For telling a service manager, for instance with `rpc_daemon::notify`.
    #[must_use]
    pub fn on_accepting(mut self, hook: impl FnOnce() + Send + Sync + 'static) -> Acceptor {
        self.hooks.on_accepting = Some(Box::new(hook));
        self
    }

    /// As [`on_accepting`](Acceptor::on_accepting), when this process ends the listening: at a stop,
    /// and when the acceptor is closed. Not if it has never begun, and not if another process goes
    /// on with the socket.
    #[must_use]
    pub fn on_closing(mut self, hook: impl FnOnce() + Send + Sync + 'static) -> Acceptor {
        self.hooks.on_closing = Some(Box::new(hook));
        self
    }

    /// Gives the file of a Unix socket that was bound here to another user and group, for a
    /// program that will drop its privileges. Does nothing for other sockets.
    ///
    /// # Errors
    ///
    /// [`ServeError::ChangeOwner`], above all when this process is not root's.
    pub fn change_owner(&self, uid: u32, gid: u32) -> Result<(), ServeError> {
        let Some(listening) = &self.listening else {
            return Ok(());
        };
        listening
            .listener
            .change_owner(uid, gid)
            .map_err(|source| ServeError::ChangeOwner { address: self.address.clone(), source })
    }

    /// Says that the model serves each connection in a thread of its own and goes on accepting
    /// meanwhile. A forked process that loses a thread to a handler then lives on for its other
    /// connections, and ends by its own time when its parent stops it; one that serves in the
    /// thread that accepts has nothing left to live for.
    pub fn serve_in_threads(&mut self) {
        self.control().role.serves_in_threads.set();
    }

    /// The next connection; `None` when the server was told to stop.
    ///
    /// Blocks until one of the two. After `None` this process does not listen any more; in the one
    /// that bound the socket, peers that were still in the queue have been rejected with -32002,
    /// and over TCP those that came into it within 10 ms more.
    ///
    /// # Errors
    ///
    /// [`ServeError`] only when the listening socket itself is broken. Running out of descriptors
    /// or memory is not an error: new peers are rejected with -32000, and accepting goes on.
    pub fn accept(&mut self) -> Result<Option<Connection>, ServeError> {
        self.accept_beside(&mut ())
    }

    /// Refuses a connection: answers `error`, and closes once the peer has had the time to read
    /// it. Does not block; the lingering close goes on beside [`accept`](Acceptor::accept).
    pub fn refuse(&mut self, conn: Connection, error: &RpcError) {
        tracing::debug!(peer = %conn.peer(), reason = %error, "connection refused");
        self.rejecting.reject(conn.into_socket(), error);
    }

    /// Answers the callers whose handlers still run in this process that the server will not wait
    /// for them: -32002, the handler may have run. Whatever their handlers return is thrown away.
    ///
    /// For a model that gives up when the grace is over. Does not block.
    pub fn answer_unfinished(&self) {
        self.control().answer_unfinished();
    }

    /// How long requests in flight may take once the server was told to stop. In a worker that
    /// retires, whose connections may go on: without a bound. A stop by signal that comes later has
    /// a timer of its own.
    pub fn grace(&self) -> Duration {
        match self.control().is_retiring() && !self.control().is_stopping() {
            true => Duration::MAX,
            false => self.control().grace(),
        }
    }

    /// Where the server really listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A handle that stops this server from another thread.
    pub fn shutdown(&self) -> Shutdown {
        self.server.shutdown()
    }

    /// As [`accept`](Acceptor::accept), and meanwhile looks after `events`. After `None` it is for
    /// whoever has them to end the listening: others may have to be told first.
    #[doc(hidden)]
    pub fn accept_beside(
        &mut self,
        events: &mut impl EventSource,
    ) -> Result<Option<Connection>, ServeError> {
        if !self.has_begun && !self.control().is_stopping() {
            self.begin_accepting()?;
        }
        loop {
            // Before the look at the flag: a stop after it finds this thread.
            if let (true, Some(listening)) = (self.is_shared, &self.listening) {
                if let Some(worker) = self.control().scoreboard.own_worker() {
                    worker.mark_ready();
                }
                self.control().listening.begin(listening.listener.as_fd());
            }
            if self.control().accepts_no_more() {
                // Closing may take a moment, in which whoever has children can tell them.
                match events.fd() {
                    Some(_) => self.reject_queue(),
                    None => self.end_listening(),
                }
                return Ok(None);
            }
            let Some(listening) = &self.listening else {
                return Ok(None);
            };
            let nothing_else_to_do = events.fd().is_none() && self.rejecting.is_idle();
            let blocks_in_accept = self.is_shared && nothing_else_to_do && !self.must_poll;
            let ready = match blocks_in_accept {
                true => Ready { connection: true, event: false },
                false => {
                    let listener = listening.listener.as_fd();
                    wait(self.control(), events.fd(), listener, &self.rejecting)?
                }
            };
            if ready.event {
                events.on_event();
            }
            self.rejecting.drain_lingering();
            if ready.connection
                && let Some(conn) = self.accept_now()?
            {
                return Ok(Some(conn));
            }
        }
    }

    /// Prepares the socket for workers, forked from this process, that accept on it side by side:
    /// each connection wakes one of them. This process itself must not accept any more.
    ///
    /// # Errors
    ///
    /// [`ServeError::Accept`] when the socket cannot be made blocking.
    #[doc(hidden)]
    pub fn share_with_workers(&mut self) -> Result<(), ServeError> {
        self.is_shared = true;
        self.set_blocking(true)
    }

    /// Makes this process the parent of others that serve.
    #[doc(hidden)]
    pub fn supervise(&self) -> Supervision {
        Supervision::begin(Arc::clone(self.control()))
    }

    /// Runs the hook of [`on_accepting`](Acceptor::on_accepting), once: for a model whose children
    /// accept, when they are there.
    #[doc(hidden)]
    pub fn announce_accepting(&mut self) {
        self.hooks.announce_accepting();
    }

    /// The listening socket, as long as there is one.
    #[doc(hidden)]
    pub fn listening_on(&self) -> Option<BorrowedFd<'_>> {
        self.listening.as_ref().map(|listening| listening.listener.as_fd())
    }

    pub(crate) fn new(
        listening: ListeningSocket,
        address: Address,
    ) -> Result<Acceptor, ServeError> {
        let server = Server::new()?;
        Ok(Acceptor {
            listening: Some(listening),
            rejecting: Rejecting::new(Arc::clone(&server.control)),
            hooks: Hooks::default(),
            address,
            has_begun: false,
            allowed_uids: None,
            is_shared: false,
            must_poll: false,
            server,
        })
    }

    pub(crate) fn control(&self) -> &Arc<Control> {
        &self.server.control
    }

    /// Whether this is the process that made the acceptor, not one of its children.
    pub(crate) fn is_creator(&self) -> bool {
        self.server.creator == own_pid()
    }

    /// The first time that this process accepts. A worker has a master that does this for it.
    fn begin_accepting(&mut self) -> Result<(), ServeError> {
        self.has_begun = true;
        self.control().reports.send(READY);
        if !self.is_shared && self.is_creator() {
            self.set_blocking(false)?;
            self.hooks.announce_accepting();
        }
        Ok(())
    }

    fn accept_now(&mut self) -> Result<Option<Connection>, ServeError> {
        let Some(listening) = &self.listening else {
            return Ok(None);
        };
        self.rejecting.paused_until = None;
        let accepted = listening.listener.accept();
        let would_block = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
        self.must_poll = accepted.as_ref().is_err_and(would_block);
        match accepted {
            Ok((socket, peer)) if !self.is_allowed(peer) => {
                self.rejecting.reject(socket, &access_denied(peer));
                Ok(None)
            }
            Ok((socket, peer)) => match Connection::new(socket, peer, &self.server.control) {
                Ok(conn) => Ok(Some(conn)),
                Err(socket) => {
                    self.rejecting.reject(socket, &busy("connections", MAX_CONNECTIONS));
                    Ok(None)
                }
            },
            // A stop has ended the accept.
            Err(_) if self.control().accepts_no_more() => Ok(None),
            Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                // Somebody else took it, or a signal came.
                Errno::EAGAIN | Errno::EINTR => Ok(None),
                Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => {
                    self.rejecting.reject_next(&listening.listener, &error);
                    Ok(None)
                }
                Errno::EBADF | Errno::EFAULT | Errno::EINVAL | Errno::ENOTSOCK => {
                    Err(ServeError::Accept(error))
                }
                // What accept(2) lists as errors of the connection that was in the queue.
                Errno::ECONNABORTED
                | Errno::EPERM
                | Errno::ENETDOWN
                | Errno::EPROTO
                | Errno::ENOPROTOOPT
                | Errno::EHOSTDOWN
                | Errno::ENONET
                | Errno::EHOSTUNREACH
                | Errno::EOPNOTSUPP
                | Errno::ENETUNREACH => Ok(None),
                _ => {
                    self.rejecting.pause("cannot accept, pausing", &error);
                    Ok(None)
                }
            },
        }
    }

    fn is_allowed(&self, peer: Peer) -> bool {
        let Some(uids) = &self.allowed_uids else {
            return true;
        };
        matches!(peer, Peer::Unix(credentials) if uids.contains(&credentials.uid))
    }

    fn set_blocking(&self, blocking: bool) -> Result<(), ServeError> {
        let set = |socket: &ListeningSocket| socket.listener.set_blocking(blocking);
        self.listening.as_ref().map_or(Ok(()), set).map_err(ServeError::Accept)
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("address", &self.address).finish_non_exhaustive()
    }
}
