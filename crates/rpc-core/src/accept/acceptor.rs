//! The bound socket and the stop: everything about accepting that a model need not show.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rpc_proto::{Address, RpcError};

use crate::accept::listener::Listener;
use crate::accept::wait::{EventSource, Ready, wait};
use crate::error::ServeError;
use crate::scoreboard::table::{MAX_CONNECTIONS, own_pid};
use crate::serve::connection::Connection;
use crate::serve::context::Peer;
use crate::serve::lingering_close::Farewell;
use crate::serve::refusal::{access_denied, busy, out_of_resources};
use crate::stop::control::{Control, Shutdown};
use crate::stop::status_pipe::Report;
use crate::stop::supervision::Supervision;

/// How long requests in flight may take after a stop, unless told otherwise.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// How long accepting pauses when the system is out of something and nobody can even be told.
const PAUSE: Duration = Duration::from_millis(50);

/// Refused connections that may wait for their peers to read why. The oldest makes room.
const MAX_FAREWELLS: usize = 64;

/// The least time between two warnings about connections that are not served.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// What a program does at a moment in the life of its server.
type Hook = Box<dyn FnOnce() + Send + Sync>;

/// A bound socket that hands out connections until it is told to stop.
///
/// A model pulls: its loop is `while let Some(conn) = acceptor.accept()? { … }`. Interrupted
/// calls, connections that died in the queue, running out of descriptors, stop signals and the
/// slow goodbyes of refused peers are dealt with in here.
pub struct Acceptor {
    pub(crate) control: Arc<Control>,
    /// `None` once the server was told to stop.
    pub(crate) listener: Option<Listener>,
    address: Address,
    /// The process that made this acceptor, not one of its children.
    pub(crate) creator: i32,
    /// Whether nobody else listens on the socket. Its creator then answers for what is left in its
    /// queue at the end.
    pub(crate) is_ours_alone: bool,
    has_begun: bool,
    /// What the program does at the two moments; the second only behind the first.
    on_accepting: Option<Hook>,
    on_closing: Option<Hook>,
    is_announced: bool,
    /// The users whose processes are served; `None` is everybody.
    allowed_uids: Option<Vec<u32>>,
    /// Whether workers accept, each waiting in accept(2), where the kernel wakes one of them for
    /// a connection. In poll(2) it would wake all.
    is_shared: bool,
    /// Whether accept(2) did not wait although it should, because another process that has the
    /// socket wants it so.
    did_not_wait: bool,
    farewells: Vec<Farewell>,
    /// Given up for a moment when descriptors run out, so that the next peer can be told.
    pub(crate) reserve: Option<OwnedFd>,
    paused_until: Option<Instant>,
    /// Set at a stop: until then somebody may still come into the queue.
    pub(crate) last_comes: Option<Instant>,
    next_warning: Option<Instant>,
}

impl Acceptor {
    /// An acceptor of a socket that already listens.
    pub(crate) fn new(
        listener: Listener,
        address: Address,
        is_ours_alone: bool,
    ) -> Result<Acceptor, ServeError> {
        let control = Control::new(DEFAULT_GRACE).map_err(ServeError::Setup)?;
        let mut acceptor = Acceptor {
            control,
            listener: Some(listener),
            address,
            creator: own_pid(),
            is_ours_alone,
            has_begun: false,
            on_accepting: None,
            on_closing: None,
            is_announced: false,
            allowed_uids: None,
            is_shared: false,
            did_not_wait: false,
            farewells: Vec::new(),
            reserve: None,
            paused_until: None,
            last_comes: None,
            next_warning: None,
        };
        acceptor.restore_reserve();
        Ok(acceptor)
    }

    /// Lets SIGTERM and SIGINT stop the server; a second SIGINT ends the process at once.
    ///
    /// Signal handlers belong to the whole process: of several acceptors, the one that asked last
    /// is stopped. When the grace is over and handlers still run, their callers are told and the
    /// process ends with the status [`EXIT_GRACE_EXPIRED`](crate::EXIT_GRACE_EXPIRED); SIGALRM and
    /// setitimer(2) serve for that.
    ///
    /// It also gives the process its last words: when a handler crashes, the callers whose handlers
    /// run are told -32004 before the process dies as it would have died anyway. A handler for
    /// SIGSEGV or the like that the program installed earlier is called after that.
    ///
    /// When `serve` has returned and no handler runs, the signals are given back.
    ///
    /// # Errors
    ///
    /// [`ServeError::Signals`] when sigaction(2) fails.
    pub fn stop_on_signals(self) -> Result<Acceptor, ServeError> {
        self.control.stop_on_signals().map_err(ServeError::Signals)?;
        Ok(self)
    }

    /// How long requests in flight may take once the server was told to stop; 30 s unless told.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Acceptor {
        self.control.set_grace(grace);
        self
    }

    /// Calls `hook` once, when connections are accepted: before the first `accept` of a model that
    /// accepts by itself, when all workers are ready in prefork. In this process, between two
    /// connections, so it should not block for long.
    ///
    /// For telling a service manager, for instance with `rpc_daemon::notify`.
    #[must_use]
    pub fn on_accepting(mut self, hook: impl FnOnce() + Send + Sync + 'static) -> Acceptor {
        self.on_accepting = Some(Box::new(hook));
        self
    }

    /// As [`on_accepting`](Acceptor::on_accepting), when this process ends the listening: at a stop,
    /// and when the acceptor is dropped. Not if it has never begun, and not if another process goes
    /// on with the socket.
    #[must_use]
    pub fn on_closing(mut self, hook: impl FnOnce() + Send + Sync + 'static) -> Acceptor {
        self.on_closing = Some(Box::new(hook));
        self
    }

    /// Serves only processes of these users, by their effective user id when they connected to
    /// the Unix socket (SO_PEERCRED, unix(7)). All others are told -32007: also root and the
    /// server's own user if they are not listed, and every TCP peer, whose user nobody knows.
    ///
    /// In a user namespace, users of the outside that have no number there appear as 65534.
    #[must_use]
    pub fn with_allowed_uids(mut self, uids: impl IntoIterator<Item = u32>) -> Acceptor {
        self.allowed_uids = Some(uids.into_iter().collect());
        self
    }

    /// Gives the file of a Unix socket that was bound here to another user and group, for a
    /// program that will drop its privileges. Does nothing for other sockets.
    ///
    /// # Errors
    ///
    /// [`ServeError::ChangeOwner`], above all when this process is not root's.
    pub fn change_owner(&self, uid: u32, gid: u32) -> Result<(), ServeError> {
        let change_owner = |listener: &Listener| {
            listener
                .change_owner(uid, gid)
                .map_err(|source| ServeError::ChangeOwner { address: self.address.clone(), source })
        };
        self.listener.as_ref().map_or(Ok(()), change_owner)
    }

    /// Says that another process, which has inherited the socket, listens on it from now on: at
    /// the end this one neither answers those who wait in its queue nor removes its file.
    pub fn leave_socket_to_others(&mut self) {
        self.is_ours_alone = false;
        // The server goes on there.
        self.is_announced = false;
        if let Some(listener) = &mut self.listener {
            listener.leave_to_others();
        }
    }

    /// How long requests in flight may take once the server was told to stop. In a worker that
    /// retires, whose connections may go on: for ever. A stop by signal that comes later has an
    /// alarm of its own.
    pub fn grace(&self) -> Duration {
        match self.control.is_retiring() && !self.control.is_stopping() {
            true => Duration::MAX,
            false => self.control.grace(),
        }
    }

    /// Where the server really listens.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// A handle that stops this server from another thread.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown::new(Arc::clone(&self.control))
    }

    /// Says that the model serves each connection in a thread of its own and goes on accepting
    /// meanwhile. A forked process that loses a thread to a handler then lives on for its other
    /// connections, and ends by its own time when its parent stops it; one that serves in the
    /// thread that accepts has nothing left to live for.
    pub fn serve_in_threads(&mut self) {
        self.control.serves_in_threads.store(true, Ordering::Relaxed);
    }

    /// Prepares the socket for workers, forked from this process, that accept on it side by side:
    /// each connection wakes one of them. This process itself must not accept any more.
    ///
    /// # Errors
    ///
    /// [`ServeError::Accept`] when the socket cannot be made blocking.
    pub fn share_with_workers(&mut self) -> Result<(), ServeError> {
        self.is_shared = true;
        let listener = self.listener.as_ref();
        listener.map_or(Ok(()), |listener| listener.set_blocking(true)).map_err(ServeError::Accept)
    }

    /// The listening socket, as long as there is one.
    #[doc(hidden)]
    pub fn listening_on(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(AsFd::as_fd)
    }

    /// Makes this process the parent of others that serve.
    #[doc(hidden)]
    pub fn supervise(&self) -> Supervision {
        Supervision::begin(Arc::clone(&self.control))
    }

    /// The next connection; `None` when the server was told to stop.
    ///
    /// Blocks until one of the two. After `None` this process does not listen any more; in the one
    /// that bound the socket, who was still in the queue has been told -32002, and over TCP who came
    /// into it within 10 ms more.
    ///
    /// # Errors
    ///
    /// [`ServeError`] only when the listening socket itself is broken. Running out of descriptors
    /// or memory is not an error: whoever comes is told -32000, and accepting goes on.
    pub fn accept(&mut self) -> Result<Option<Connection>, ServeError> {
        self.accept_beside(&mut ())
    }

    /// As [`accept`](Acceptor::accept), and meanwhile looks after `events`. After `None` it is for
    /// whoever has them to end the listening: others may have to be told first.
    #[doc(hidden)]
    pub fn accept_beside(
        &mut self,
        events: &mut impl EventSource,
    ) -> Result<Option<Connection>, ServeError> {
        if !self.has_begun && !self.control.is_stopping() {
            self.begin()?;
        }
        loop {
            // Before the look at the flag: a stop after it finds this thread.
            if let (true, Some(listener)) = (self.is_shared, &self.listener) {
                self.control.accept_in_this_thread(listener.as_fd());
            }
            if self.control.accepts_no_more() {
                // Closing may take a moment, in which whoever has children can tell them.
                match events.fd() {
                    Some(_) => self.turn_away(),
                    None => self.close(),
                }
                return Ok(None);
            }
            if self.listener.is_none() {
                return Ok(None);
            }
            let nothing_else_to_do =
                events.fd().is_none() && self.farewells.is_empty() && self.paused_until.is_none();
            let accept_waits = self.is_shared && nothing_else_to_do && !self.did_not_wait;
            let ready = match accept_waits {
                true => Ready { connection: true, event: false },
                false => wait(
                    &self.control,
                    events.fd(),
                    self.listening_on(),
                    &self.farewells,
                    self.paused_until,
                )?,
            };
            if ready.event {
                events.on_event();
            }
            self.farewells.retain_mut(|farewell| !farewell.drain());
            if ready.connection
                && let Some(conn) = self.accept_now()?
            {
                return Ok(Some(conn));
            }
        }
    }

    /// The first time that this process accepts. A worker has a master that does this for it.
    fn begin(&mut self) -> Result<(), ServeError> {
        self.has_begun = true;
        self.control.report(&Report::Ready);
        if self.is_shared || self.creator != own_pid() {
            return Ok(());
        }
        if let Some(listener) = &self.listener {
            listener.set_blocking(false).map_err(ServeError::Accept)?;
        }
        self.announce_accepting();
        Ok(())
    }

    /// Runs the hook of [`on_accepting`](Acceptor::on_accepting), once. A model whose children
    /// accept calls it when they are there.
    pub fn announce_accepting(&mut self) {
        self.is_announced = true;
        if let Some(hook) = self.on_accepting.take() {
            hook();
        }
    }

    /// In the process that has bound the socket.
    pub(crate) fn announce_closing(&mut self) {
        if self.is_announced
            && let Some(hook) = self.on_closing.take()
        {
            hook();
        }
    }

    fn accept_now(&mut self) -> Result<Option<Connection>, ServeError> {
        let Some(listener) = &self.listener else {
            return Ok(None);
        };
        self.paused_until = None;
        let accepted = listener.accept();
        self.did_not_wait = would_block(&accepted);
        match accepted {
            Ok((socket, peer)) if !self.serves(peer) => {
                let refusal = access_denied(peer);
                self.warn("refusing connections", &refusal.message);
                self.say_farewell(Farewell::say(socket, &refusal));
                Ok(None)
            }
            Ok((socket, peer)) => match Connection::new(socket, peer, &self.control) {
                Ok(conn) => Ok(Some(conn)),
                Err(socket) => {
                    let refusal = busy("connections", MAX_CONNECTIONS);
                    self.count_refused(&refusal);
                    self.say_farewell(Farewell::say(socket, &refusal));
                    Ok(None)
                }
            },
            // A stop has ended the accept.
            Err(_) if self.control.accepts_no_more() => Ok(None),
            Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                // Somebody else took it, or a signal came.
                Errno::EAGAIN | Errno::EINTR => Ok(None),
                Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM => {
                    self.shed(&error);
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
                    self.warn("cannot accept, pausing", &error);
                    self.pause();
                    Ok(None)
                }
            },
        }
    }

    fn serves(&self, peer: Peer) -> bool {
        let Some(uids) = &self.allowed_uids else {
            return true;
        };
        matches!(peer, Peer::Unix(credentials) if uids.contains(&credentials.uid))
    }

    /// Out of descriptors or memory: tells the next peer `busy` with the descriptor that is kept
    /// for this, and pauses if even that fails.
    fn shed(&mut self, error: &io::Error) {
        self.warn("cannot accept, refusing", error);
        self.farewells.clear();
        if !self.connection_waits() {
            // accept(2) finds out that there is no descriptor before it looks into the queue.
            return self.pause();
        }
        self.reserve = None;
        let told = match self.listener.as_ref().map(Listener::accept) {
            Some(Ok((socket, _))) => {
                let refusal = out_of_resources("the server cannot take another connection", error);
                self.control.scoreboard.tallies().count_accepted();
                self.count_refused(&refusal);
                Farewell::say(socket, &refusal).drain();
                true
            }
            Some(Err(error)) => error.kind() == io::ErrorKind::WouldBlock,
            None => true,
        };
        self.restore_reserve();
        if !told || self.reserve.is_none() {
            self.pause();
        }
    }

    fn connection_waits(&self) -> bool {
        let listener = self.listener.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN));
        poll(&mut listener.collect::<Vec<_>>(), PollTimeout::ZERO) == Ok(1)
    }

    fn restore_reserve(&mut self) {
        self.reserve = self.control.wake().try_clone_to_owned().ok();
    }

    fn pause(&mut self) {
        self.paused_until = Some(Instant::now() + PAUSE);
    }

    /// Refuses a connection: tells the peer `error`, and closes once it has had the time to read
    /// it. Does not block; the goodbye goes on beside [`accept`](Acceptor::accept).
    pub fn refuse(&mut self, conn: Connection, error: &RpcError) {
        tracing::debug!(peer = %conn.peer(), reason = %error, "connection refused");
        self.warn("refusing connections", &error.message);
        self.count_refused(error);
        self.say_farewell(Farewell::say(conn.into_socket(), error));
    }

    /// Tells the callers whose handlers still run in this process that the server will not wait
    /// for them: -32002, the handler may have run. Whatever their handlers return is thrown away.
    ///
    /// For a model that gives up when the grace is over. Does not block.
    pub fn answer_unfinished(&self) {
        self.control.answer_unfinished();
    }

    /// In a child that serves a connection: closes its copies of what only its parent needs.
    ///
    /// As dropping does, and frees no memory: that would copy pages which the child otherwise
    /// shares with its parent, only to end a little later.
    pub fn leave_to_parent(&mut self) {
        self.farewells.clear();
        self.reserve = None;
        self.close();
    }

    fn count_refused(&self, refusal: &RpcError) {
        self.control.scoreboard.tallies().count_refused(refusal.code);
    }

    fn say_farewell(&mut self, mut farewell: Farewell) {
        if farewell.drain() {
            return;
        }
        if self.farewells.len() == MAX_FAREWELLS {
            self.farewells.remove(0);
        }
        self.farewells.push(farewell);
    }

    fn warn(&mut self, what: &str, reason: &dyn std::fmt::Display) {
        let now = Instant::now();
        if self.next_warning.is_none_or(|next| now >= next) {
            tracing::warn!(%reason, "{what}");
            self.next_warning = Some(now + WARN_EVERY);
        }
    }
}

fn would_block<T>(result: &io::Result<T>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
