//! The end of listening: no new connection is admitted, and peers in the queue are rejected.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};

use crate::accept::acceptor::Acceptor;
use crate::accept::listener::Listener;
use crate::serve::lingering_close::LingeringClose;
use crate::serve::socket::poll_timeout;
use crate::stop::prepared_errors::shutting_down;

/// How many queued connections are rejected at a stop, at most.
const MAX_QUEUED: usize = 8192;

/// A listening socket, and whether other processes listen on it too.
pub(crate) struct ListeningSocket {
    pub(crate) listener: Listener,
    /// Whether no other server listens on it. At the end its creator then rejects the peers that
    /// are left in its queue.
    is_exclusive: bool,
    /// Set at a stop: until this moment connections may still enter the queue.
    handshakes_end: Option<Instant>,
}

impl ListeningSocket {
    pub(crate) fn new(listener: Listener, is_exclusive: bool) -> ListeningSocket {
        ListeningSocket { listener, is_exclusive, handshakes_end: None }
    }

    fn admit_no_more(&mut self, grace: Duration) {
        if self.is_exclusive && self.handshakes_end.is_none() {
            let handshakes = self.listener.admit_no_more();
            // With a grace this short there is no time to wait for handshakes.
            let has_time = grace > 2 * handshakes;
            let wait = if has_time { handshakes } else { Duration::ZERO };
            self.handshakes_end = Some(Instant::now() + wait);
        }
    }

    fn reject_queue(&self) {
        if !self.is_exclusive || self.listener.set_blocking(false).is_err() {
            return;
        }
        for _ in 0..MAX_QUEUED {
            match self.listener.accept() {
                Ok((socket, _)) => {
                    LingeringClose::with_error(socket, &shutting_down()).drain();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => break,
            }
        }
    }

    /// How much longer connections may enter the queue; `None` if they no longer can.
    fn awaits_handshakes(&self) -> Option<Duration> {
        let left = self.handshakes_end?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

impl Acceptor {
    /// Declares that another process, which has inherited the socket, listens on it from now on. At
    /// the end this process neither answers the peers in the queue nor removes the socket file.
    pub fn leave_socket_to_others(&mut self) {
        // The service continues in that process.
        self.hooks.on_closing = None;
        if let Some(listening) = &mut self.listening {
            listening.is_exclusive = false;
            listening.listener.leave_to_others();
        }
    }

    /// Admits no more connections to the queue, unless others listen on the socket. Workers may
    /// still accept the connections that are in it.
    #[doc(hidden)]
    pub fn admit_no_more(&mut self) {
        let (is_creator, grace) = (self.is_creator(), self.control().grace());
        if let Some(listening) = self.listening.as_mut().filter(|_| is_creator) {
            listening.admit_no_more(grace);
        }
    }

    /// Admits no more connections and rejects the peers in the queue, in the process that bound the
    /// socket and unless others listen on it.
    #[doc(hidden)]
    pub fn reject_queue(&mut self) {
        if !self.is_creator() {
            return;
        }
        self.hooks.announce_closing();
        self.admit_no_more();
        // One free descriptor is enough to reject one peer after the other.
        self.rejecting.reserve_fd = None;
        if let Some(listening) = &self.listening {
            listening.reject_queue();
        }
    }

    /// How much longer connections may enter the queue; `None` if they no longer can.
    #[doc(hidden)]
    pub fn awaits_handshakes(&self) -> Option<Duration> {
        self.listening.as_ref()?.awaits_handshakes()
    }

    /// Ends listening. At a stop this waits for handshakes, 10 ms at most.
    pub(crate) fn end_listening(&mut self) {
        self.reject_queue();
        while self.control().is_stopping()
            && let Some(listening) = &self.listening
            && let Some(left) = listening.awaits_handshakes()
        {
            let mut events = [PollFd::new(listening.listener.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut events, poll_timeout(left));
            self.reject_queue();
        }
        self.close_socket();
    }

    fn close_socket(&mut self) {
        self.control().listening.forget();
        self.listening = None;
    }

    /// Ends listening without a stop: peers in the queue are rejected with -32002, unless others
    /// listen on the socket. Accepted connections continue.
    ///
    /// Blocks for 10 ms at most, and only after a stop. An acceptor that is dropped instead closes
    /// its socket, and the kernel resets the peers in the queue.
    pub fn close(mut self) {
        self.end_listening();
    }

    /// For a child that serves a connection: closes its copies of the descriptors that only its
    /// parent needs.
    ///
    /// Like dropping, but frees no memory: that would copy pages which the child otherwise shares
    /// with its parent, shortly before it exits.
    pub fn leave_to_parent(&mut self) {
        self.rejecting.end();
        self.close_socket();
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        if self.is_creator() {
            self.hooks.announce_closing();
        }
        self.close_socket();
    }
}
