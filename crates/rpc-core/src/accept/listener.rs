//! A listening socket of either family, bound or inherited.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockType, SockaddrLike, SockaddrStorage, UnixAddr, getsockname,
    getsockopt, listen, setsockopt, sockopt,
};
use rpc_proto::Address;

use crate::accept::socket_file::{SocketFile, bind_unix};
use crate::serve::context::Peer;
use crate::serve::socket::{Socket, credentials};
use crate::sys::syn_filter::admit_no_more;

/// How many connections the kernel keeps until they are accepted; it lowers this to
/// net.core.somaxconn (listen(2)).
const BACKLOG: i32 = 4096;

/// How long a handshake that has begun before a stop may take: a round trip in a local network, or
/// the time that a process waits for its turn on a busy machine. The close(2) of the listening
/// socket resets connections that need longer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(10);

/// The default mode of a socket file: only its owner may connect.
const SOCKET_FILE_MODE: u32 = 0o600;

/// All permission bits of a file, without set-user-id and the like.
const PERMISSIONS: u32 = 0o777;

pub(crate) enum Listener {
    Tcp(TcpListener),
    /// The file comes first because it must be dropped first. If the socket were closed while the
    /// file is still there, a server that starts just then could replace the file, get the same
    /// inode number, and lose its own file to us. `None` if the socket was inherited.
    Unix(Option<SocketFile>, UnixListener),
}

impl Listener {
    /// Binds and listens. `mode` is for the file of a Unix socket.
    pub(crate) fn bind(address: &Address, mode: Option<u32>) -> io::Result<Listener> {
        match address {
            Address::Tcp(_) if mode.is_some() => {
                Err(invalid("only a Unix socket has a mode; anybody can connect to a TCP port"))
            }
            Address::Tcp(host_and_port) => {
                // std sets SO_REUSEADDR: on Linux it lets a server start again while connections
                // of the last one linger, and still refuses two that listen (socket(7)).
                let listener = TcpListener::bind(host_and_port.as_str())?;
                // A second listen(2) only changes the length of the queue.
                listen(&listener, Backlog::new(BACKLOG)?)?;
                Listener::tcp(listener)
            }
            Address::Unix(path) => {
                let mode = mode.unwrap_or(SOCKET_FILE_MODE);
                if mode & !PERMISSIONS != 0 {
                    return Err(invalid("the mode of a socket is at most 0777"));
                }
                let (socket, file) = bind_unix(path, mode, BACKLOG)?;
                Ok(Listener::Unix(Some(file), UnixListener::from(socket)))
            }
            other => {
                let message = format!("unsupported kind of address: {other}");
                Err(io::Error::new(io::ErrorKind::Unsupported, message))
            }
        }
    }

    /// Takes a listening socket that was bound elsewhere. It stays blocking or non-blocking as it
    /// is, because all processes that share it share this.
    pub(crate) fn from_socket(socket: OwnedFd) -> io::Result<Listener> {
        if getsockopt(&socket, sockopt::SockType)? != SockType::Stream
            || !getsockopt(&socket, sockopt::AcceptConn)?
        {
            return Err(invalid("it is not a listening stream socket"));
        }
        match local_name(&socket)?.family() {
            Some(AddressFamily::Inet | AddressFamily::Inet6) => {
                Listener::tcp(TcpListener::from(socket))
            }
            Some(AddressFamily::Unix) => {
                let listener = Listener::Unix(None, UnixListener::from(socket));
                listener.local_address()?;
                Ok(listener)
            }
            _ => Err(invalid("it is neither a TCP nor a Unix socket")),
        }
    }

    fn tcp(listener: TcpListener) -> io::Result<Listener> {
        // Accepted connections inherit this option.
        setsockopt(&listener, sockopt::TcpNoDelay, &true)?;
        Ok(Listener::Tcp(listener))
    }

    /// The address that it listens on; port 0 is replaced by the port that the kernel chose.
    pub(crate) fn local_address(&self) -> io::Result<Address> {
        match self {
            Listener::Tcp(listener) => Ok(Address::Tcp(listener.local_addr()?.to_string())),
            Listener::Unix(Some(file), _) => Ok(Address::unix(&file.path)),
            Listener::Unix(None, listener) => {
                let name = local_name(listener)?;
                let path = name.as_unix_addr().and_then(UnixAddr::path);
                let path = path.ok_or_else(|| {
                    // Nothing limits who may connect to one: unix(7), abstract sockets.
                    invalid("it is a Unix socket without a file, which has no permissions")
                })?;
                Ok(Address::unix(path))
            }
        }
    }

    /// Whether `accept` blocks, in all processes that share the socket.
    pub(crate) fn set_blocking(&self, blocking: bool) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => listener.set_nonblocking(!blocking),
            Listener::Unix(_, listener) => listener.set_nonblocking(!blocking),
        }
    }

    /// Gives the file of a Unix socket, if this process made one, to another user and group.
    pub(crate) fn change_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        match self {
            Listener::Unix(Some(file), _) => file.change_owner(uid, gid),
            Listener::Unix(None, _) | Listener::Tcp(_) => Ok(()),
        }
    }

    /// Another process listens on the socket from now on, so its file stays.
    pub(crate) fn leave_to_others(&mut self) {
        if let Listener::Unix(Some(file), _) = self {
            file.leave_to_others();
        }
    }

    /// No peer can begin to connect from now on, so that the queue can be emptied for good: a
    /// connection that entered it between the last accept(2) and the close(2) would be reset. If
    /// this fails, such connections are reset. Returns how long connections that have begun before
    /// may still enter the queue.
    pub(crate) fn admit_no_more(&mut self) -> Duration {
        match self {
            Listener::Tcp(listener) => {
                if let Err(error) = admit_no_more(listener.as_fd()) {
                    tracing::debug!(%error, "new connections may be reset");
                }
                HANDSHAKE_TIMEOUT
            }
            Listener::Unix(file, _) => {
                drop(file.take());
                Duration::ZERO
            }
        }
    }

    /// The next connection.
    pub(crate) fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                Ok((Socket::new(stream), Peer::Tcp(address)))
            }
            Listener::Unix(_, listener) => {
                let (stream, _) = listener.accept()?;
                let peer = Peer::Unix(credentials(&stream));
                Ok((Socket::new(stream), peer))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(_, listener) => listener.as_fd(),
        }
    }
}

fn local_name(socket: &impl AsRawFd) -> io::Result<SockaddrStorage> {
    Ok(getsockname(socket.as_raw_fd())?)
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
