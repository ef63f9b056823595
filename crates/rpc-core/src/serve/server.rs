//! The [`Server`]: what the connections of one server share, without a listening socket.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockType, SockaddrLike, SockaddrStorage, getpeername, getsockopt, sockopt,
};

use crate::error::ServeError;
use crate::serve::connection::Connection;
use crate::serve::context::Peer;
use crate::serve::socket::{Socket, credentials};
use crate::stop::control::{Control, Shutdown};
use crate::stop::signals::{release_signals, stop_on_signals};
use crate::sys::pid::own_pid;

/// How long requests in flight may take after a stop, by default.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);

/// What the connections of one server share: the stop, the scoreboard, the deadlines.
///
/// Every [`Acceptor`](crate::Acceptor) contains one. Without an acceptor it serves connections that
/// did not come from a listening socket: one end of a pair in a test, a connection that a parent
/// passed on, standard input under inetd(8).
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
/// use rpc_core::{Method, Registry, Server, Service};
///
/// const PING: Method<String, String> = Method::new("ping", "pong");
///
/// let mut registry = Registry::new();
/// registry.register(PING, |text, _ctx| Ok(text))?;
/// let service = Service::new(registry);
/// let server = Server::new()?;
/// let (ours, mut theirs) = UnixStream::pair()?;
/// let conn = server.connection(ours)?;
/// let serving = std::thread::spawn(move || service.serve_conn(conn));
///
/// let request = br#"{"in":"ping","params":"hello"}"#;
/// theirs.write_all(&(request.len() as u32).to_le_bytes())?;
/// theirs.write_all(request)?;
/// let mut len = [0; 4];
/// theirs.read_exact(&mut len)?;
/// let mut reply = vec![0; u32::from_le_bytes(len) as usize];
/// theirs.read_exact(&mut reply)?;
/// assert_eq!(reply, br#"{"out":"pong","result":"hello"}"#);
///
/// drop(theirs);
/// serving.join().unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Server {
    pub(crate) control: Arc<Control>,
    /// The process that created it, as opposed to its children.
    pub(crate) creator: i32,
}

impl Server {
    /// A server without connections.
    ///
    /// # Errors
    ///
    /// [`ServeError::Setup`] when the shared memory or a descriptor cannot be created.
    pub fn new() -> Result<Server, ServeError> {
        let control = Control::new(DEFAULT_GRACE).map_err(ServeError::Setup)?;
        Ok(Server { control, creator: own_pid() })
    }

    /// Like [`Acceptor::stop_on_signals`](crate::Acceptor::stop_on_signals).
    ///
    /// # Errors
    ///
    /// [`ServeError::Signals`] when sigaction(2) fails.
    pub fn stop_on_signals(self) -> Result<Server, ServeError> {
        stop_on_signals(&self.control).map_err(ServeError::Signals)?;
        Ok(self)
    }

    /// How long requests in flight may take after a stop by a signal; default: 30 s.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> Server {
        self.control.set_grace(grace);
        self
    }

    /// A handle that stops this server from another thread.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown::new(Arc::clone(&self.control))
    }

    /// A connection for [`Service::serve_conn`](crate::Service::serve_conn), from a connected
    /// stream socket: a `UnixStream`, a `TcpStream`, one end of a pair. The socket is made
    /// blocking. Does not block.
    ///
    /// Only sockets can be served: a signal handler that answers in place of a request handler
    /// uses send(2), which works with no other kind of stream.
    ///
    /// # Errors
    ///
    /// When the descriptor is of another kind or not connected, or when
    /// [`MAX_CONNECTIONS`](crate::MAX_CONNECTIONS) are open.
    pub fn connection(&self, socket: impl Into<OwnedFd>) -> io::Result<Connection> {
        let (socket, peer) = connected(socket.into())?;
        let full = |_| io::Error::new(io::ErrorKind::QuotaExceeded, "every slot is taken");
        Connection::new(socket, peer, &self.control).map_err(full)
    }
}

fn connected(socket: OwnedFd) -> io::Result<(Socket, Peer)> {
    if getsockopt(&socket, sockopt::SockType)? != SockType::Stream {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a stream socket"));
    }
    let name: SockaddrStorage = getpeername(socket.as_raw_fd())?;
    if name.family() == Some(AddressFamily::Unix) {
        let stream = UnixStream::from(socket);
        stream.set_nonblocking(false)?;
        let peer = Peer::Unix(credentials(&stream));
        return Ok((Socket::new(stream), peer));
    }
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    let peer = Peer::Tcp(stream.peer_addr()?);
    Ok((Socket::new(stream), peer))
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.creator == own_pid() {
            self.control.role.server_is_dropped.set();
            release_signals(&self.control);
        }
    }
}
