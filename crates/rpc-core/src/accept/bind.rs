//! How an acceptor comes by a socket of its own.

use std::os::fd::OwnedFd;

use rpc_proto::Address;

use crate::accept::acceptor::Acceptor;
use crate::accept::closing::ListeningSocket;
use crate::accept::listener::Listener;
use crate::error::ServeError;

impl Acceptor {
    /// Binds `address` and listens. Port 0 lets the kernel choose; [`address`](Acceptor::address)
    /// tells what it chose.
    ///
    /// The file of a Unix socket gets the mode 0600. One that nobody listens on is replaced, and
    /// it is removed when the acceptor is dropped.
    ///
    /// # Errors
    ///
    /// [`ServeError::Bind`], above all when another server listens there; [`ServeError::Setup`].
    pub fn bind(address: &Address) -> Result<Acceptor, ServeError> {
        Acceptor::bind_listener(address, None)
    }

    /// As [`bind`](Acceptor::bind) of a Unix socket whose file has the permissions `mode`, such as
    /// `0o660`: exactly these, whatever the umask is. To connect needs the right to write
    /// (unix(7)).
    ///
    /// # Errors
    ///
    /// As [`bind`](Acceptor::bind); [`ServeError::Bind`] also for a TCP address, to which anybody
    /// can connect who reaches it, and for more than permissions.
    pub fn bind_with_mode(address: &Address, mode: u32) -> Result<Acceptor, ServeError> {
        Acceptor::bind_listener(address, Some(mode))
    }

    /// An acceptor of a socket that already listens: TCP over IPv4 or IPv6, or a Unix socket with a
    /// file. A service manager passes one on (`rpc_daemon::inherited_socket`), or a program binds
    /// one in a way of its own.
    ///
    /// The socket may belong to other processes as well, so at the end its file is not removed, and
    /// whoever waits in its queue is left to them.
    ///
    /// # Errors
    ///
    /// [`ServeError::Socket`] when it is something else; [`ServeError::Setup`].
    pub fn from_socket(socket: impl Into<OwnedFd>) -> Result<Acceptor, ServeError> {
        let listener = Listener::from_socket(socket.into()).map_err(ServeError::Socket)?;
        let address = listener.local_address().map_err(ServeError::Socket)?;
        Acceptor::new(ListeningSocket::new(listener, false), address)
    }

    fn bind_listener(address: &Address, mode: Option<u32>) -> Result<Acceptor, ServeError> {
        let bind_error = |source| ServeError::Bind { address: address.clone(), source };
        let listener = Listener::bind(address, mode).map_err(bind_error)?;
        let local_address = listener.local_address().map_err(bind_error)?;
        Acceptor::new(ListeningSocket::new(listener, true), local_address)
    }
}
