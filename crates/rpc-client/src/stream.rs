//! Sockets: connecting, and what std's streams cannot do.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect as connect_socket, recv, send,
    socket,
};
use rpc_proto::Address;

/// Connects to the server within `timeout`. A Unix socket comes as a `TcpStream` too: reading,
/// writing and their time-outs are the same system calls for both families.
pub(crate) fn connect(address: &Address, timeout: Duration) -> io::Result<TcpStream> {
    match address {
        Address::Tcp(host_and_port) => connect_tcp(host_and_port, timeout),
        Address::Unix(path) => connect_unix(path, timeout),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Connects to the first of the host's addresses that accepts, within `timeout` for all of them.
fn connect_tcp(host_and_port: &str, timeout: Duration) -> io::Result<TcpStream> {
    let started = Instant::now();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for candidate in host_and_port.to_socket_addrs()? {
        let connected = time_left(started, timeout)
            .and_then(|left| TcpStream::connect_timeout(&candidate, left));
        match connected {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// connect(2) waits while the backlog is full; SO_SNDTIMEO bounds that wait (socket(7)).
fn connect_unix(path: &Path, timeout: Duration) -> io::Result<TcpStream> {
    let started = Instant::now();
    let flags = SockFlag::SOCK_CLOEXEC;
    let stream = TcpStream::from(socket(AddressFamily::Unix, SockType::Stream, flags, None)?);
    let address = UnixAddr::new(path)?;
    loop {
        stream.set_write_timeout(Some(time_left(started, timeout)?))?;
        match connect_socket(stream.as_raw_fd(), &address) {
            Ok(()) => return Ok(stream),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn time_left(started: Instant, timeout: Duration) -> io::Result<Duration> {
    match timeout.saturating_sub(started.elapsed()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

/// Whether there is nothing to read, not even the end of the stream or an error. Does not block.
pub(crate) fn is_silent(stream: &TcpStream) -> bool {
    let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT;
    recv(stream.as_raw_fd(), &mut [0], flags) == Err(Errno::EAGAIN)
}

/// Writes as much as the socket accepts, without waiting.
#[inline]
pub(crate) fn write_now(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    Ok(send(stream.as_raw_fd(), bytes, flags)?)
}
