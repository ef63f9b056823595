//! What an accept loop waits for: connections, a stop, events of the model, lingering peers.

use std::array;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::accept::rejecting::{MAX_LINGERING, Rejecting};
use crate::error::ServeError;
use crate::serve::socket::poll_timeout;
use crate::stop::control::Control;

/// The wake-up, the events, the listening socket, and the lingering connections.
const MAX_POLLED: usize = 3 + MAX_LINGERING;

/// What is ready after a wait.
pub(crate) struct Ready {
    pub(crate) connection: bool,
    pub(crate) event: bool,
}

/// Events that an accept loop handles while it waits for connections.
pub trait EventSource {
    /// Becomes readable when there is an event; `None` if there are never any.
    fn fd(&self) -> Option<BorrowedFd<'_>>;

    /// Handles the events. Must not block.
    fn on_event(&mut self);
}

/// Blocks until there is something to do. Ignores `listener` while accepting pauses.
///
/// Allocates nothing: a parent runs this before every fork, and each page that it writes between
/// two forks is copied.
#[inline(never)]
pub(crate) fn wait(
    control: &Control,
    events: Option<BorrowedFd<'_>>,
    listener: BorrowedFd<'_>,
    rejecting: &Rejecting,
) -> Result<Ready, ServeError> {
    let now = Instant::now();
    let lingering = &rejecting.lingering;
    let paused_until = rejecting.paused_until.filter(|until| now < *until);
    let lingering_ends = lingering.iter().map(|close| close.deadline).min();
    let wake_at = [lingering_ends, paused_until].into_iter().flatten().min();
    let timeout =
        wake_at.map_or(PollTimeout::NONE, |at| poll_timeout(at.saturating_duration_since(now)));
    let listener = Some(listener).filter(|_| paused_until.is_none());

    let wake = control.wake();
    let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let watched = events
        .into_iter()
        .chain(listener)
        .chain(lingering.iter().map(|close| close.socket.as_fd()));
    let mut polled: [_; MAX_POLLED] = array::from_fn(|_| watch(wake));
    let mut count = 1;
    for (event, fd) in polled[1..].iter_mut().zip(watched) {
        *event = watch(fd);
        count += 1;
    }
    let polled = &mut polled[..count];
    match poll(polled, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(ServeError::Watch(errno.into())),
    }
    let mut ready = polled.iter().map(|event| event.any() == Some(true));
    if ready.next() == Some(true) {
        control.clear_wake();
    }
    Ok(Ready {
        event: events.is_some() && ready.next() == Some(true),
        connection: listener.is_some() && ready.next() == Some(true),
    })
}
