//! Operations on a connected socket that neither std nor nix has.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

/// How many bytes the socket has received that are unread; ioctl(2), FIONREAD.
pub(crate) fn unread_len(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut len: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, and `len` is one.
    if unsafe { libc::ioctl(socket.as_raw_fd(), libc::FIONREAD, &mut len) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(len).unwrap_or(0))
}

/// Acknowledges received bytes at once; tcp(7), TCP_QUICKACK. Has no effect on other sockets.
pub(crate) fn acknowledge_now(socket: BorrowedFd<'_>) {
    let on: libc::c_int = 1;
    let len = size_of_val(&on) as libc::socklen_t;
    let (level, option) = (libc::IPPROTO_TCP, libc::TCP_QUICKACK);
    // SAFETY: the option is one int, and `on` is one.
    unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), len) };
}
