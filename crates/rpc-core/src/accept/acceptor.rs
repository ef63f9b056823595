//! The [`Acceptor`]: a bound socket, and everything about accepting that a model does not have to
//! deal with.

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

/// A bound socket that returns connections until the server stops.
///
/// A model pulls: its loop is `while let Some(conn) = acceptor.accept()? { … }`. The acceptor deals
/// with interrupted calls, connections that died in the queue, running out of descriptors, stop
/// signals and the lingering closes of rejected peers.
pub struct Acceptor {
    /// `None` once listening has ended.
    pub(crate) listening: Option<ListeningSocket>,
    pub(crate) rejecting: Rejecting,
    pub(crate) hooks: Hooks,
    address: Address,
    has_begun: bool,
    /// The users whose processes are served; `None` allows all.
    allowed_uids: Option<Vec<u32>>,
    /// Whether workers share the socket. Each blocks in accept(2), where the kernel wakes one of
    /// them per connection; in poll(2) it would wake all.
    is_shared: bool,
    /// Whether accept(2) returned without waiting, because another process that shares the socket
    /// has made it non-blocking.
    must_poll: bool,
    pub(crate) server: Server,
}

impl Acceptor {
    /// Lets SIGTERM and SIGINT stop the server; a second SIGINT ends the process at once.
    ///
    /// Signal handlers belong to the whole process: a signal stops every server that called this. If
    /// handlers still run when the grace is over, their callers get -32002 and the process exits with
    /// the status [`EXIT_GRACE_EXPIRED`](crate::EXIT_GRACE_EXPIRED); this uses SIGALRM and
    /// setitimer(2).
    ///
    /// The process also answers before it dies of a crash: the callers whose handlers run get
    /// -32004, and then the process dies as it would have died without this. A handler for SIGSEGV
    /// or the like that the program installed earlier is called after that.
    ///
    /// When `serve` has returned and no handler runs, the previous signal handlers are restored, by
    /// the last of the servers that called this.
    ///
    /// # Errors
    ///
    /// [`ServeError::Signals`] when sigaction(2) fails.
    pub fn stop_on_signals(self) -> Result<Acceptor, ServeError> {
        stop_on_signals(self.control()).map_err(ServeError::Signals)?;
        Ok(self)
    }

    /// How long requests in flight may take after a stop; default: 30 s.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Acceptor {
        self.control().set_grace(grace);
        self
    }

    /// Serves only processes of these users, identified by their effective user id when they
    /// connected to the Unix socket (SO_PEERCRED, unix(7)). All others are rejected with -32007:
    /// root and the server's own user too if they are not listed, and every TCP peer, whose user is
    /// unknown.
    ///
    /// In a user namespace, outside users without a mapping appear as 65534.
    #[must_use]
    pub fn with_allowed_uids(mut self, uids: impl IntoIterator<Item = u32>) -> Acceptor {
        self.allowed_uids = Some(uids.into_iter().collect());
        self
    }

    /// Calls `hook` once, when the server begins to accept: before the first `accept` of a model
    /// that accepts in this process, or when all workers are ready in prefork. The hook runs in
    /// this process between two connections, so it should not block for long.
    ///
    /// Its purpose is to notify a service manager, for instance with `rpc_daemon::notify`.
    #[must_use]
    pub fn on_accepting(mut self, hook: impl FnOnce() + Send + Sync + 'static) -> Acceptor {
        self.hooks.on_accepting = Some(Box::new(hook));
        self
    }

    /// Like [`on_accepting`](Acceptor::on_accepting), but when this process stops listening: at a
    /// stop, and when the acceptor is closed or dropped. The hook does not run if accepting never
    /// began, or if another process keeps listening on the socket.
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
    /// [`ServeError::ChangeOwner`], usually because this process does not run as root.
    pub fn change_owner(&self, uid: u32, gid: u32) -> Result<(), ServeError> {
        let Some(listening) = &self.listening else {
            return Ok(());
        };
        listening
            .listener
            .change_owner(uid, gid)
            .map_err(|source| ServeError::ChangeOwner { address: self.address.clone(), source })
    }

    /// Declares that the model serves each connection in its own thread and keeps accepting
    /// meanwhile. A forked process that loses a thread to a late handler then keeps serving its
    /// other connections, and enforces the grace itself when its parent stops it. Without this, the
    /// process serves in the thread that accepts, and exits when it loses that thread.
    pub fn serve_in_threads(&mut self) {
        self.control().role.serves_in_threads.set();
    }

    /// The next connection; `None` after a stop.
    ///
    /// Blocks until one or the other. After `None` this process no longer listens. If it bound the
    /// socket, it has rejected the peers that were still in the queue with -32002, and over TCP
    /// also those that entered the queue within another 10 ms.
    ///
    /// # Errors
    ///
    /// [`ServeError`] only when the listening socket itself is broken. Running out of descriptors
    /// or memory is not an error: new peers are rejected with -32000, and accepting goes on.
    pub fn accept(&mut self) -> Result<Option<Connection>, ServeError> {
        self.accept_beside(None)
    }

    /// Refuses a connection: answers `error`, and closes once the peer has had time to read it.
    /// Does not block; the lingering close continues during [`accept`](Acceptor::accept).
    pub fn refuse(&mut self, conn: Connection, error: &RpcError) {
        tracing::debug!(peer = %conn.peer(), reason = %error, "connection refused");
        self.rejecting.reject(conn.into_socket(), error);
    }

    /// Answers the callers whose handlers still run in this process with -32002, which says that
    /// the handler may have run. What those handlers return is thrown away.
    ///
    /// For a model that gives up when the grace is over. Does not block.
    pub fn answer_unfinished(&self) {
        self.control().answer_unfinished();
    }

    /// How long requests in flight may take after a stop. Without a bound in a worker that retires,
    /// whose connections may continue; a later stop by a signal sets its own timer.
    pub fn grace(&self) -> Duration {
        match self.control().is_retiring() && !self.control().is_stopping() {
            true => Duration::MAX,
            false => self.control().grace(),
        }
    }

    /// The address that the server listens on, with the port that the kernel chose for port 0.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A handle that stops this server from another thread.
    pub fn shutdown(&self) -> Shutdown {
        self.server.shutdown()
    }

    /// Like [`accept`](Acceptor::accept), and handles `events` meanwhile. After `None` the caller
    /// that has events ends the listening itself, because it may have to notify others first.
    #[doc(hidden)]
    pub fn accept_beside(
        &mut self,
        mut events: Option<&mut dyn EventSource>,
    ) -> Result<Option<Connection>, ServeError> {
        if !self.has_begun && !self.control().is_stopping() {
            self.begin_accepting()?;
        }
        loop {
            // Before the flag is read, so that a later stop finds this thread.
            if let (true, Some(listening)) = (self.is_shared, &self.listening) {
                if let Some(worker) = self.control().scoreboard.own_worker() {
                    worker.mark_ready();
                }
                self.control().listening.begin(listening.listener.as_fd());
            }
            if self.control().accepts_no_more() {
                // Closing may take a moment, in which a parent can already stop its children.
                match events {
                    Some(_) => self.reject_queue(),
                    None => self.end_listening(),
                }
                return Ok(None);
            }
            let Some(listening) = &self.listening else {
                return Ok(None);
            };
            let nothing_else_to_do = events.is_none() && self.rejecting.is_idle();
            let blocks_in_accept = self.is_shared && nothing_else_to_do && !self.must_poll;
            let ready = match blocks_in_accept {
                true => Ready { connection: true, event: false },
                false => {
                    let events = events.as_ref().and_then(|events| events.fd());
                    wait(self.control(), events, listening.listener.as_fd(), &self.rejecting)?
                }
            };
            if let (true, Some(events)) = (ready.event, &mut events) {
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

    /// Prepares the socket for workers that are forked from this process and accept on it in
    /// parallel: each connection wakes one of them. This process itself must not accept afterwards.
    ///
    /// # Errors
    ///
    /// [`ServeError::Accept`] when the socket cannot be made blocking.
    #[doc(hidden)]
    pub fn share_with_workers(&mut self) -> Result<(), ServeError> {
        self.is_shared = true;
        self.set_blocking(true)
    }

    /// Makes this process the parent of processes that serve.
    #[doc(hidden)]
    pub fn supervise(&self) -> Supervision {
        Supervision::begin(Arc::clone(self.control()))
    }

    /// Runs the hook of [`on_accepting`](Acceptor::on_accepting) once. For a model whose children
    /// accept, when they are ready.
    #[doc(hidden)]
    pub fn announce_accepting(&mut self) {
        self.hooks.announce_accepting();
    }

    /// The listening socket; `None` once listening has ended.
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

    /// Runs before this process accepts for the first time. For a worker, its master sets the mode
    /// of the socket and runs the hook.
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
                self.control().scoreboard.counters().count_accepted();
                self.rejecting.reject(socket, &access_denied(peer));
            }
            Ok((socket, peer)) => match Connection::new(socket, peer, &self.server.control) {
                Ok(conn) => return Ok(Some(conn)),
                Err(socket) => self.rejecting.reject(socket, &busy("connections", MAX_CONNECTIONS)),
            },
            // A stop ended the accept(2).
            Err(_) if self.control().accepts_no_more() => {}
            Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                // Another process took the connection, or a signal came.
                Errno::EAGAIN | Errno::EINTR => {}
                Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => {
                    self.rejecting.reject_next(&listening.listener, &error);
                }
                Errno::EBADF | Errno::EFAULT | Errno::EINVAL | Errno::ENOTSOCK => {
                    return Err(ServeError::Accept(error));
                }
                // accept(2) lists these as errors of the queued connection.
                Errno::ECONNABORTED
                | Errno::ENETDOWN
                | Errno::EPROTO
                | Errno::ENOPROTOOPT
                | Errno::EHOSTDOWN
                | Errno::ENONET
                | Errno::EHOSTUNREACH
                | Errno::EOPNOTSUPP
                | Errno::ENETUNREACH => {}
                _ => self.rejecting.pause("cannot accept, pausing", &error),
            },
        }
        Ok(None)
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

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_peer_that_is_not_allowed_counts_as_accepted_and_as_refused() {
        let acceptor = Acceptor::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let mut acceptor = acceptor.with_allowed_uids([0]);
        let _peer = TcpStream::connect(acceptor.address().to_string()).unwrap();
        assert!(acceptor.accept_now().unwrap().is_none());
        let stats = acceptor.control().scoreboard.counters().connections();
        assert_eq!(stats.accepted, 1);
        assert_eq!(stats.refused.values().sum::<u64>(), 1);
    }
}
