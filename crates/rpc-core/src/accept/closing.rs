//! The end of the listening: nobody new gets in, and peers that wait in the queue are rejected.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};

use crate::accept::acceptor::Acceptor;
use crate::accept::listener::Listener;
use crate::serve::lingering_close::LingeringClose;
use crate::serve::socket::poll_timeout;
use crate::stop::prepared_errors::shutting_down;

/// Connections that are rejected at a stop before they were accepted.
const MAX_QUEUED: usize = 8192;

/// A listening socket, and whose it is.
pub(crate) struct ListeningSocket {
    pub(crate) listener: Listener,
    /// Whether nobody else listens on it. Its creator then answers for what is left in its queue at
    /// the end.
    is_exclusive: bool,
    /// Set at a stop: until then somebody may still come into the queue.
    handshakes_end: Option<Instant>,
}

impl ListeningSocket {
    pub(crate) fn new(listener: Listener, is_exclusive: bool) -> ListeningSocket {
        ListeningSocket { listener, is_exclusive, handshakes_end: None }
    }

    fn admit_no_more(&mut self, grace: Duration) {
        if self.is_exclusive && self.handshakes_end.is_none() {
            let handshakes = self.listener.admit_no_more();
            // A server in such a hurry waits for nobody, or its grace would be over meanwhile.
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

    /// For how long somebody may still come into the queue; `None` if nobody does any more.
    fn awaits_handshakes(&self) -> Option<Duration> {
        let left = self.handshakes_end?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

impl Acceptor {
    /// Says that another process, which has inherited the socket, listens on it from now on: at
    /// the end this one neither answers the peers in its queue nor removes its file.
    pub fn leave_socket_to_others(&mut self) {
        // The server goes on there.
        self.hooks.on_closing = None;
        if let Some(listening) = &mut self.listening {
            listening.is_exclusive = false;
            listening.listener.leave_to_others();
        }
    }

    /// Lets nobody into the queue any more, unless others listen on the socket. Workers may still
    /// accept the connections that are in it.
    #[doc(hidden)]
    pub fn admit_no_more(&mut self) {
        let (is_creator, grace) = (self.is_creator(), self.control().grace());
        if let Some(listening) = self.listening.as_mut().filter(|_| is_creator) {
            listening.admit_no_more(grace);
        }
    }

    /// Rejects the peers that wait in the queue, in the process that bound the socket, unless others
    /// listen on it. Nobody new gets into it.
    #[doc(hidden)]
    pub fn reject_queue(&mut self) {
        if !self.is_creator() {
            return;
        }
        self.hooks.announce_closing();
        self.admit_no_more();
        // One descriptor is enough to tell one after the other.
        self.rejecting.reserve_fd = None;
        if let Some(listening) = &self.listening {
            listening.reject_queue();
        }
    }

    /// For how long somebody may still come into the queue; `None` if nobody does any more.
    #[doc(hidden)]
    pub fn awaits_handshakes(&self) -> Option<Duration> {
        self.listening.as_ref()?.awaits_handshakes()
    }

    /// Ends the listening. At a stop this waits for handshakes.
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

    /// Ends the listening without a stop: peers that wait in the queue are rejected with -32002,
    /// unless others listen on the socket. Connections that were accepted go on.
    ///
    /// Blocks for 10 ms at most, and only after a stop. An acceptor that is dropped instead closes
    /// its socket, and the kernel resets whoever waits.
    pub fn close(mut self) {
        self.end_listening();
    }

    /// In a child that serves a connection: closes its copies of what only its parent needs.
    ///
    /// As dropping does, and frees no memory: that would copy pages which the child otherwise
    /// shares with its parent, only to end a little later.
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
