//! What waits in a socket.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

/// How many bytes have come on the socket that were not read, ioctl(2) FIONREAD.
pub(crate) fn unread_len(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut len: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, and `len` is one.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &mut len) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(len).unwrap_or(0))
}
