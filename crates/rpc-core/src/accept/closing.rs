//! The end of the listening: nobody new gets in, and who waits in the queue is told.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};

use crate::accept::acceptor::Acceptor;
use crate::scoreboard::table::own_pid;
use crate::serve::lingering_close::Farewell;
use crate::serve::refusal::shutting_down;
use crate::serve::socket::poll_timeout;

/// Connections that are told of a stop before they were accepted.
const MAX_QUEUED: usize = 8192;

impl Acceptor {
    /// Lets nobody into the queue any more, unless others listen on the socket. Workers may still
    /// accept who is in it.
    #[doc(hidden)]
    pub fn admit_no_more(&mut self) {
        let is_ours = self.is_ours_alone && self.creator == own_pid();
        if let (true, None, Some(listener)) = (is_ours, self.last_comes, &mut self.listener) {
            let handshakes = listener.admit_no_more();
            // A server in such a hurry waits for nobody, or its grace would be over meanwhile.
            let has_time = self.control.grace() > 2 * handshakes;
            let wait = if has_time { handshakes } else { Duration::ZERO };
            self.last_comes = Some(Instant::now() + wait);
        }
    }

    /// Tells those who wait in the queue that the server stops, in the process that bound the
    /// socket, unless others listen on it. Nobody new gets into it.
    #[doc(hidden)]
    pub fn turn_away(&mut self) {
        if self.creator != own_pid() {
            return;
        }
        self.announce_closing();
        self.admit_no_more();
        // One descriptor is enough to tell one after the other.
        self.reserve = None;
        let Some(listener) = self.listener.as_ref().filter(|_| self.is_ours_alone) else {
            return;
        };
        if listener.set_blocking(false).is_err() {
            return;
        }
        for _ in 0..MAX_QUEUED {
            match listener.accept() {
                Ok((socket, _)) => drop(Farewell::say(socket, &shutting_down()).drain()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(_) => break,
            }
        }
    }

    /// For how long somebody may still come into the queue; `None` if nobody does any more.
    #[doc(hidden)]
    pub fn awaits_handshakes(&self) -> Option<Duration> {
        let left = self.last_comes?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// Ends the listening. At a stop this waits for handshakes.
    pub(crate) fn close(&mut self) {
        self.turn_away();
        while self.control.is_stopping()
            && let (Some(listener), Some(left)) = (&self.listener, self.awaits_handshakes())
        {
            let mut events = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut events, poll_timeout(left));
            self.turn_away();
        }
        self.control.forget_accepting_thread();
        self.listener = None;
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.close();
        if self.creator == own_pid() {
            self.control.serve_no_more();
        }
    }
}
