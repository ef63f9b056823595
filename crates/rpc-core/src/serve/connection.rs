//! One accepted connection: its socket, its peer, its slot on the scoreboard.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::socket::Shutdown;
use rpc_proto::{ErrorCode, FrameReader, FrameWriter};

use crate::scoreboard::guard::SlotGuard;
use crate::scoreboard::slot::Slot;
use crate::serve::context::Peer;
use crate::serve::refusal::whole_millis;
use crate::serve::socket::{NonBlocking, Socket, after, should_retry};
use crate::stop::control::Control;
use crate::stop::deadline_timer::arm;
use crate::stop::signals::{install_crash_handlers, install_deadline_handler};
use crate::sys::clock::moment_in;
use crate::sys::stream::unread_len;

/// Buffers larger than this, in bytes, are shrunk when the connection falls silent.
const KEPT_BUFFER_LEN: usize = 64 * 1024;

/// How long a connection with large buffers must be silent before they are shrunk.
const SHRINK_AFTER: Duration = Duration::from_millis(100);

/// The outcome of waiting for more bytes.
pub(crate) enum Received {
    Bytes,
    EndOfStream,
    /// The idle timeout passed between two frames.
    IdleTimeout,
    /// The frame timeout passed inside a frame.
    FrameTimeout,
}

/// A connection that was accepted and is not served yet. Dropping it closes it without an answer;
/// [`Acceptor::refuse`](crate::Acceptor::refuse) answers with an error first.
pub struct Connection {
    // First, so that it is dropped first: the scoreboard must not name a closed descriptor.
    slot: SlotGuard<Control>,
    pub(crate) socket: Socket,
    peer: Peer,
    /// How many of the bytes that were there when the stop was noticed are still unread.
    unread_at_stop: Cell<Option<usize>>,
    /// How long a read may block between two frames.
    idle_timeout: Cell<Duration>,
    /// Whether reads time out after [`SHRINK_AFTER`] instead of the idle timeout.
    waits_briefly: Cell<bool>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Connection {
    /// `Err` returns the socket when all slots are taken.
    pub(crate) fn new(socket: Socket, peer: Peer, control: &Arc<Control>) -> Result<Self, Socket> {
        control.scoreboard.counters().count_accepted();
        match SlotGuard::claim(control, socket.as_fd().as_raw_fd()) {
            Some(slot) => Ok(Connection {
                slot,
                socket,
                peer,
                unread_at_stop: Cell::new(None),
                idle_timeout: Cell::new(Duration::ZERO),
                waits_briefly: Cell::new(false),
            }),
            None => Err(socket),
        }
    }

    /// The peer of this connection.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Closes this process's copy of the connection and leaves it to the child `pid`, whose copy
    /// stays open. The connection itself ends when the last copy is closed (close(2)).
    pub fn leave_to(self, pid: i32) {
        self.slot.set_owner(pid);
    }

    /// Makes this process the owner on the scoreboard. A child may come here before its parent has
    /// set it.
    pub(crate) fn take_ownership(&self) {
        self.slot.adopt();
        let control = &self.slot.shared;
        if !control.role.has_served.is_set() {
            install_crash_handlers(control);
            control.role.has_served.set();
        }
    }

    #[inline]
    pub(crate) fn control(&self) -> &Control {
        &self.slot.shared
    }

    #[inline]
    pub(crate) fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Prepares the connection for its first request. A stop that comes later finds the published
    /// slot; the effect of one that came before is applied here.
    pub(crate) fn begin(&self, idle_timeout: Duration) -> io::Result<()> {
        self.set_idle_timeout(idle_timeout)?;
        if self.control().is_stopping() {
            self.socket.shut_down(Shutdown::Read);
        }
        Ok(())
    }

    /// Sets the deadline of the call that is being handled to `limit` from now, and returns it as
    /// [`now`](crate::sys::clock::now) counts.
    pub(crate) fn limit_call(&self, limit: Duration) -> u64 {
        let deadline = moment_in(limit);
        let control = &self.slot.shared;
        if control.limits.are_enforced.is_set() || install_deadline_handler(control) {
            let limit_ms = u32::try_from(whole_millis(limit)).unwrap_or(u32::MAX);
            self.slot.set_deadline(deadline, limit_ms);
            arm(deadline);
        }
        deadline
    }

    /// Sets how long [`receive`](Connection::receive) waits between two frames.
    pub(crate) fn set_idle_timeout(&self, idle_timeout: Duration) -> io::Result<()> {
        self.idle_timeout.set(idle_timeout);
        self.socket.set_read_timeout(idle_timeout)
    }

    /// Blocks until bytes have come: at most for the idle timeout between two frames, and until
    /// `frame_deadline` inside a frame, which is set at the first wait for the rest of it.
    ///
    /// Between two frames this is one read. Only a frame that comes in pieces costs more.
    #[inline]
    pub(crate) fn receive(
        &self,
        requests: &mut FrameReader,
        replies: &mut FrameWriter,
        frame_deadline: &mut Option<Instant>,
        frame_timeout: Duration,
    ) -> io::Result<Received> {
        if self.control().is_stopping() {
            return self.receive_after_stop(requests);
        }
        if requests.buffered_len() > 0 {
            return self.receive_rest(requests, frame_deadline, frame_timeout);
        }
        self.slot.become_idle();
        let has_large_buffers =
            requests.capacity() > KEPT_BUFFER_LEN || replies.capacity() > KEPT_BUFFER_LEN;
        if has_large_buffers != self.waits_briefly.get() {
            self.wait_briefly(has_large_buffers)?;
        }
        loop {
            match requests.read_from(&mut &self.socket) {
                Ok(0) => return Ok(Received::EndOfStream),
                Ok(_) => return Ok(Received::Bytes),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock if self.waits_briefly.get() => {
                        requests.shrink();
                        replies.shrink();
                        self.wait_briefly(false)?;
                    }
                    io::ErrorKind::WouldBlock => return Ok(Received::IdleTimeout),
                    _ => return Err(error),
                },
            }
        }
    }

    /// Lets reads time out after [`SHRINK_AFTER`], or after the idle timeout. Changes twice in a
    /// burst of large calls, so that each of them costs one read like any other.
    #[cold]
    fn wait_briefly(&self, briefly: bool) -> io::Result<()> {
        let timeout = if briefly { SHRINK_AFTER } else { self.idle_timeout.get() };
        self.socket.set_read_timeout(timeout)?;
        self.waits_briefly.set(briefly);
        Ok(())
    }

    /// Waits for the rest of a frame until a fixed deadline, so that a peer gains no time by
    /// sending single bytes.
    #[cold]
    fn receive_rest(
        &self,
        requests: &mut FrameReader,
        frame_deadline: &mut Option<Instant>,
        frame_timeout: Duration,
    ) -> io::Result<Received> {
        loop {
            match requests.read_from(&mut NonBlocking(&self.socket)) {
                Ok(0) => return Ok(Received::EndOfStream),
                Ok(_) => return Ok(Received::Bytes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.acknowledge_now();
                    let deadline = *frame_deadline.get_or_insert_with(|| after(frame_timeout));
                    if !self.socket.wait_for(PollFlags::POLLIN, deadline)? {
                        return Ok(Received::FrameTimeout);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads once more if bytes come before the deadline; `false` if none came. Blocks until then.
    pub(crate) fn receive_until(
        &self,
        requests: &mut FrameReader,
        deadline: Instant,
    ) -> io::Result<bool> {
        self.socket.acknowledge_now();
        let came = self.socket.wait_for(PollFlags::POLLIN, deadline)?
            && requests.read_from(&mut NonBlocking(&self.socket))? > 0;
        Ok(came)
    }

    /// Receives after a stop: only the bytes that were there when the stop was noticed. A socket
    /// whose reading side was shut down still accepts bytes, so a peer that never stops sending
    /// would otherwise be served for the whole grace.
    #[cold]
    fn receive_after_stop(&self, requests: &mut FrameReader) -> io::Result<Received> {
        let left = match self.unread_at_stop.get() {
            Some(left) => left,
            None => unread_len(self.socket.as_fd())?,
        };
        let count = match left {
            0 => 0,
            left => requests.read_from(&mut NonBlocking(&self.socket).take(left as u64))?,
        };
        self.unread_at_stop.set(Some(left - count));
        match count {
            0 => Ok(Received::EndOfStream),
            _ => Ok(Received::Bytes),
        }
    }

    /// Writes all pending replies; one write if the peer reads. Blocks at most for `timeout`.
    #[inline]
    pub(crate) fn send(&self, replies: &mut FrameWriter, timeout: Duration) -> io::Result<()> {
        let bytes = replies.as_bytes();
        if bytes.is_empty() {
            return Ok(());
        }
        match self.socket.write_now(bytes) {
            Ok(count) if count == bytes.len() => {}
            Ok(count) => self.send_rest(&bytes[count..], timeout)?,
            Err(error) if should_retry(&error) => self.send_rest(bytes, timeout)?,
            Err(error) => return Err(error),
        }
        replies.clear();
        Ok(())
    }

    #[cold]
    fn send_rest(&self, mut bytes: &[u8], timeout: Duration) -> io::Result<()> {
        let deadline = after(timeout);
        while !bytes.is_empty() {
            if !self.socket.wait_for(PollFlags::POLLOUT, deadline)? {
                let message = format!("the peer did not read its replies within {timeout:?}");
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            match self.socket.write_now(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if should_retry(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends the error that says that the server stops. Blocks at most for `timeout`.
    pub(crate) fn send_shutting_down(
        &self,
        replies: &mut FrameWriter,
        timeout: Duration,
    ) -> io::Result<()> {
        tracing::debug!(peer = %self.peer, "connection ended by the stop");
        self.control().scoreboard.counters().count_refused(ErrorCode::ShuttingDown.code());
        replies.append(|body| io::Write::write_all(body, &self.slot.shared.errors.stopping))?;
        self.send(replies, timeout)
    }

    /// Whether unread bytes wait in the socket: closing it now would reset the connection.
    pub(crate) fn has_unread(&self) -> bool {
        unread_len(self.socket.as_fd()).is_ok_and(|len| len > 0)
    }

    pub(crate) fn into_socket(self) -> Socket {
        self.socket
    }
}
