//! The lingering close: closing a connection so that the peer can read why.
//!
//! A close(2) while unread bytes wait in the receive queue, or before the peer has sent its
//! request, makes the kernel answer with a reset, and a reset can destroy the reply that gives the
//! reason (RFC 1122, section 4.2.2.13). A lingering close therefore sends the reply, shuts down the
//! writing side, reads and throws away what still comes for a short while, and then closes.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::Shutdown;
use rpc_proto::{FrameWriter, Response, RpcError};

use crate::serve::socket::{Socket, poll_timeout};

/// How long the peer has to read the last reply and close.
const LINGER_TIME: Duration = Duration::from_millis(250);

/// How much of what the peer still sends is read, in bytes.
const LINGER_LEN: usize = 64 * 1024;

/// A connection whose last reply is sent, and which waits for its peer to close.
pub(crate) struct LingeringClose {
    pub(crate) socket: Socket,
    pub(crate) deadline: Instant,
    len_left: usize,
}

impl LingeringClose {
    /// Sends `error` without blocking and shuts down the writing side.
    pub(crate) fn with_error(socket: Socket, error: &RpcError) -> LingeringClose {
        let mut frame = FrameWriter::new();
        Response::append_error(&mut frame, error);
        let _ = socket.write_now(frame.as_bytes());
        LingeringClose::after_last_reply(socket)
    }

    /// For a connection whose last reply is written: shuts down the writing side.
    pub(crate) fn after_last_reply(socket: Socket) -> LingeringClose {
        socket.shut_down(Shutdown::Write);
        LingeringClose { socket, deadline: Instant::now() + LINGER_TIME, len_left: LINGER_LEN }
    }

    /// Throws away what has come, without blocking. `true` if the connection can be closed.
    ///
    /// Not inlined: its buffer would make every caller's stack frame a page larger.
    #[inline(never)]
    pub(crate) fn drain(&mut self) -> bool {
        let mut sink = [0; 4096];
        loop {
            match self.socket.read_now(&mut sink) {
                Ok(0) => return true,
                Ok(count) if count >= self.len_left => return true,
                Ok(count) => self.len_left -= count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Instant::now() >= self.deadline;
                }
                Err(_) => return true,
            }
        }
    }

    /// Blocks until the peer has closed, for 250 ms at most.
    pub(crate) fn wait(mut self) {
        while !self.drain() {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let mut events = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            let _ = poll(&mut events, poll_timeout(left));
        }
    }
}
