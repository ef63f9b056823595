//! Closing a listening TCP socket to new connections while its queue is emptied.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::libc;

/// Admits no more connections to a listening TCP socket: the kernel drops the first segment of each
/// new connection (SO_ATTACH_FILTER, socket(7)). Handshakes that have begun are completed. The peer
/// tries again after a second, and is refused if no process listens by then.
///
/// The filter belongs to the socket, so it applies in all processes that share it.
pub(crate) fn admit_no_more(listener: BorrowedFd<'_>) -> io::Result<()> {
    const FLAGS: u32 = 13;
    const ACK: u32 = 0x10;
    const ALL: u32 = u32::MAX;
    // Classic BPF, on the TCP header: only the first segment of a connection has no ACK (RFC 9293,
    // section 3.4), besides some resets.
    let instruction = |code, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, FLAGS),
        instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, ACK),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, ALL),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel copies the program, and through it the filter, which are both alive.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
