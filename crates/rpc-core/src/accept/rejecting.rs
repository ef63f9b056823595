//! Rejecting peers without blocking: each can read why before its connection is closed. Also what
//! accepting does when the system is out of descriptors or memory.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rpc_proto::RpcError;

use crate::accept::listener::Listener;
use crate::serve::lingering_close::LingeringClose;
use crate::serve::refusal::out_of_resources;
use crate::serve::socket::Socket;
use crate::stop::control::Control;

/// How long accepting pauses when the system has no resources left, not even to reject a peer.
const PAUSE: Duration = Duration::from_millis(50);

/// How many connections linger at a time. The oldest is closed to make room.
pub(crate) const MAX_LINGERING: usize = 64;

/// The shortest time between two warnings about rejected connections.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

pub(crate) struct Rejecting {
    control: Arc<Control>,
    pub(crate) lingering: Vec<LingeringClose>,
    /// Closed for a moment when descriptors run out, so that the next peer can be rejected.
    pub(crate) reserve_fd: Option<OwnedFd>,
    pub(crate) paused_until: Option<Instant>,
    next_warning: Option<Instant>,
}

impl Rejecting {
    pub(crate) fn new(control: Arc<Control>) -> Rejecting {
        Rejecting {
            reserve_fd: reserve_fd(&control),
            control,
            lingering: Vec::new(),
            paused_until: None,
            next_warning: None,
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.lingering.is_empty() && self.paused_until.is_none()
    }

    /// Reads what peers that linger have sent, and closes the connections that are done. Does not
    /// block.
    pub(crate) fn drain_lingering(&mut self) {
        self.lingering.retain_mut(|close| !close.drain());
    }

    /// Answers `error` and closes once the peer has had time to read it. Does not block.
    pub(crate) fn reject(&mut self, socket: Socket, error: &RpcError) {
        self.warn("refusing connections", &error.message);
        self.control.scoreboard.counters().count_refused(error.code);
        let mut close = LingeringClose::with_error(socket, error);
        if close.drain() {
            return;
        }
        if self.lingering.len() == MAX_LINGERING {
            self.lingering.remove(0);
        }
        self.lingering.push(close);
    }

    /// Handles running out of descriptors or memory: frees the reserved descriptor to reject the
    /// next peer as `busy`, and pauses if even that fails.
    pub(crate) fn reject_next(&mut self, listener: &Listener, error: &io::Error) {
        const MESSAGE: &str = "cannot accept, refusing";
        self.warn(MESSAGE, error);
        self.lingering.clear();
        if !connection_waits(listener) {
            // accept(2) fails for want of a descriptor before it looks into the queue.
            return self.pause(MESSAGE, error);
        }
        self.reserve_fd = None;
        let was_answered = match listener.accept() {
            Ok((socket, _)) => {
                let refusal = out_of_resources("the server cannot take another connection", error);
                self.control.scoreboard.counters().count_accepted();
                self.control.scoreboard.counters().count_refused(refusal.code);
                LingeringClose::with_error(socket, &refusal).drain();
                true
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        self.reserve_fd = reserve_fd(&self.control);
        if !was_answered || self.reserve_fd.is_none() {
            self.pause(MESSAGE, error);
        }
    }

    /// Stops accepting for a moment, [`PAUSE`].
    pub(crate) fn pause(&mut self, message: &str, error: &io::Error) {
        self.warn(message, error);
        self.paused_until = Some(Instant::now() + PAUSE);
    }

    /// Closes all lingering connections and the reserved descriptor.
    pub(crate) fn end(&mut self) {
        self.lingering.clear();
        self.reserve_fd = None;
    }

    fn warn(&mut self, message: &str, reason: &dyn std::fmt::Display) {
        let now = Instant::now();
        if self.next_warning.is_none_or(|next| now >= next) {
            tracing::warn!(%reason, "{message}");
            self.next_warning = Some(now + WARN_INTERVAL);
        }
    }
}

/// A copy of some descriptor, to be closed when descriptors run out.
fn reserve_fd(control: &Control) -> Option<OwnedFd> {
    control.wake().try_clone_to_owned().ok()
}

fn connection_waits(listener: &Listener) -> bool {
    let mut events = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    poll(&mut events, PollTimeout::ZERO) == Ok(1)
}
