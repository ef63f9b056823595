//! A connected stream socket, TCP or Unix: reading, writing and waiting for it.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, Shutdown, getsockopt, recv, send, setsockopt, shutdown, sockopt};
use nix::sys::time::TimeVal;

use crate::serve::context::Credentials;
use crate::sys::stream::acknowledge_now;

/// A connected stream socket of either family.
pub(crate) struct Socket(OwnedFd);

impl Socket {
    pub(crate) fn new(socket: impl Into<OwnedFd>) -> Socket {
        Socket(socket.into())
    }

    /// How long one read may block; socket(7), SO_RCVTIMEO.
    pub(crate) fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
        setsockopt(&self.0, sockopt::ReceiveTimeout, &time_val(timeout))?;
        Ok(())
    }

    /// Blocks until the socket is ready or has failed; `false` if the deadline passed first.
    pub(crate) fn wait_for(&self, ready: PollFlags, deadline: Instant) -> io::Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match poll(&mut [PollFd::new(self.as_fd(), ready)], poll_timeout(left)) {
                Ok(0) if left.is_zero() => return Ok(false),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Acknowledges received bytes at once. A peer that writes prefix and body separately with
    /// Nagle's algorithm on holds back the body until the prefix is acknowledged; a delayed
    /// acknowledgement would cost 40 ms (tcp(7), TCP_QUICKACK). Has no effect on a Unix socket.
    pub(crate) fn acknowledge_now(&self) {
        acknowledge_now(self.0.as_fd());
    }

    /// Shuts down the reading or the writing side.
    pub(crate) fn shut_down(&self, side: Shutdown) {
        let _ = shutdown(self.0.as_raw_fd(), side);
    }

    /// Reads what is there, without blocking.
    pub(crate) fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?)
    }

    /// Writes what the socket takes, without blocking.
    pub(crate) fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        Ok(send(self.0.as_raw_fd(), bytes, flags)?)
    }
}

impl AsFd for Socket {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for &Socket {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0.as_raw_fd(), buffer, MsgFlags::empty())?)
    }
}

/// A socket whose reads never block.
pub(crate) struct NonBlocking<'a>(pub(crate) &'a Socket);

impl Read for NonBlocking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_now(buffer)
    }
}

pub(crate) fn should_retry(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// The moment `timeout` from now, or one more than a century away if that is too late to count.
pub(crate) fn after(timeout: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(timeout).unwrap_or_else(|| now + Duration::from_secs(u32::MAX.into()))
}

/// Rounded up to a microsecond, since zero would mean no timeout (socket(7)).
fn time_val(time: Duration) -> TimeVal {
    let micros = i64::from(time.subsec_micros()).max(i64::from(time.as_secs() == 0));
    TimeVal::new(i64::try_from(time.as_secs()).unwrap_or(i64::MAX), micros)
}

/// The timeout for poll(2), rounded up to milliseconds.
pub fn poll_timeout(timeout: Duration) -> PollTimeout {
    let millis = timeout.as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(millis).unwrap_or(PollTimeout::MAX)
}

/// The credentials of the process that connected to this Unix socket.
pub(crate) fn credentials(stream: &impl AsFd) -> Credentials {
    match getsockopt(stream, sockopt::PeerCredentials) {
        Ok(peer) => Credentials { pid: peer.pid(), uid: peer.uid(), gid: peer.gid() },
        // The kernel itself reports these for an unknown peer; no user has this id.
        Err(_) => Credentials { pid: 0, uid: u32::MAX, gid: u32::MAX },
    }
}
