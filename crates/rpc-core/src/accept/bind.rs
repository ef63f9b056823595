//! The constructors of an acceptor: binding an address, or taking a socket that listens already.

use std::os::fd::OwnedFd;

use rpc_proto::Address;

use crate::accept::acceptor::Acceptor;
use crate::accept::closing::ListeningSocket;
use crate::accept::listener::Listener;
use crate::error::ServeError;

impl Acceptor {
    /// Binds `address` and listens. Port 0 lets the kernel choose; [`address`](Acceptor::address)
    /// returns its choice.
    ///
    /// The file of a Unix socket gets the mode 0600. A stale socket file is replaced; one with a
    /// live listener never is. The file is removed when listening ends.
    ///
    /// Blocks for 1 s at most, while another server binds a socket in the same directory.
    ///
    /// # Errors
    ///
    /// [`ServeError::Bind`], for instance when another server listens there; [`ServeError::Setup`].
    pub fn bind(address: &Address) -> Result<Acceptor, ServeError> {
        Acceptor::bind_listener(address, None)
    }

    /// Like [`bind`](Acceptor::bind), for a Unix socket whose file has exactly the permissions
    /// `mode`, such as `0o660`, independent of the umask. Connecting needs write permission
    /// (unix(7)).
    ///
    /// # Errors
    ///
    /// As [`bind`](Acceptor::bind); also [`ServeError::Bind`] for a TCP address, which has no
    /// permissions, and for a mode with bits beyond `0o777`.
    pub fn bind_with_mode(address: &Address, mode: u32) -> Result<Acceptor, ServeError> {
        Acceptor::bind_listener(address, Some(mode))
    }

    /// An acceptor for a socket that already listens: TCP over IPv4 or IPv6, or a Unix socket with
    /// a file. A service manager passes one on (`rpc_daemon::inherited_socket`), or the program
    /// binds one itself.
    ///
    /// Other processes may share the socket, so at the end its file is not removed, and the peers
    /// that wait in its queue are left to them.
    ///
    /// # Errors
    ///
    /// [`ServeError::Socket`] for any other descriptor; [`ServeError::Setup`].
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
