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
use crate::sys::pid::own_pid;
use crate::sys::stream::unread_len;

/// Buffers above this many bytes are given back when the connection falls silent.
const KEPT_BUFFER_LEN: usize = 64 * 1024;

/// How long a connection with large buffers must be silent before it gives them back.
const SHRINK_AFTER: Duration = Duration::from_millis(100);

/// What a wait for more bytes came to.
pub(crate) enum Received {
    Bytes,
    EndOfStream,
    /// The idle timeout passed between two frames.
    IdleTimeout,
    /// The frame timeout passed inside a frame.
    FrameTimeout,
}

/// A connection that was accepted and is not served yet. Dropping it closes it without a word;
/// [`Acceptor::refuse`](crate::Acceptor::refuse) says why.
pub struct Connection {
    // Dropped first: the scoreboard must not name a descriptor that is closed.
    slot: SlotGuard<Control>,
    pub(crate) socket: Socket,
    peer: Peer,
    /// Bytes that had come when the stop was noticed and are still to be read.
    unread_at_stop: Cell<Option<usize>>,
    idle_timeout: Cell<Duration>,
    /// Whether reads end after [`SHRINK_AFTER`] instead of the idle timeout.
    waits_briefly: Cell<bool>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

impl Connection {
    /// `Err` gives the socket back: every slot is taken.
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

    /// Who is at the other end.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Closes this process's copy of the connection and leaves it to the child `pid`, whose copy
    /// stays open. The connection itself ends when the last copy is closed (close(2)).
    pub fn leave_to(self, pid: i32) {
        self.slot.set_owner(pid);
    }

    /// Makes this process the one that the scoreboard names: a child may be here before its
    /// parent has said so.
    pub(crate) fn take_ownership(&self) {
        self.slot.set_owner(own_pid());
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

    /// Sets what holds for the whole connection. The slot is published already, so a stop that
    /// comes later finds it; one that came before is made up for here.
    pub(crate) fn begin(&self, idle_timeout: Duration) -> io::Result<()> {
        self.set_idle_timeout(idle_timeout)?;
        if self.control().is_stopping() {
            self.socket.shut_down(Shutdown::Read);
        }
        Ok(())
    }

    /// Gives the call that is being handled so much time from now on, and returns when it is over.
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

    /// How long [`receive`](Connection::receive) waits between two frames from now on.
    pub(crate) fn set_idle_timeout(&self, idle_timeout: Duration) -> io::Result<()> {
        self.idle_timeout.set(idle_timeout);
        self.socket.set_read_timeout(idle_timeout)
    }

    /// Blocks until bytes have come, at most for that time between two frames and until
    /// `frame_deadline` inside one, which begins here.
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

    /// Whether the next reads wait only until large buffers are to be given back, or for as long
    /// as the peer may be silent. Changed twice in a burst of large calls, so that each of them
    /// costs one read like any other.
    #[cold]
    fn wait_briefly(&self, briefly: bool) -> io::Result<()> {
        let timeout = if briefly { SHRINK_AFTER } else { self.idle_timeout.get() };
        self.socket.set_read_timeout(timeout)?;
        self.waits_briefly.set(briefly);
        Ok(())
    }

    /// The wait for the rest of a frame: by the clock, so that a peer which sends a byte now and
    /// then gains nothing.
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

    /// Reads once more, if something comes before the deadline; `false` if nothing did.
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

    /// After a stop: the rest of what was there when it was noticed. A socket whose reading side
    /// has ended still takes what comes, so a peer that sends without a pause would be served for
    /// the whole grace.
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

    /// Writes all replies that wait; one write if the peer reads. Blocks at most for `timeout`.
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
                let message = format!("the peer did not take its replies within {timeout:?}");
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

    /// Says that the server stops.
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

    /// Whether bytes wait that nobody will read: closing now would reset the connection.
    pub(crate) fn has_unread(&self) -> bool {
        unread_len(self.socket.as_fd()).is_ok_and(|len| len > 0)
    }

    pub(crate) fn into_socket(self) -> Socket {
        self.socket
    }
}
