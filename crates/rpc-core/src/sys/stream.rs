//! What neither std nor nix does with a connected socket.
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

/// Acknowledges what came at once, tcp(7), TCP_QUICKACK. Other sockets than TCP's refuse it.
pub(crate) fn acknowledge_now(socket: BorrowedFd<'_>) {
    let on: libc::c_int = 1;
    let len = size_of_val(&on) as libc::socklen_t;
    let (level, option) = (libc::IPPROTO_TCP, libc::TCP_QUICKACK);
    // SAFETY: the option is one int, and `on` is one.
    unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), len) };
}
