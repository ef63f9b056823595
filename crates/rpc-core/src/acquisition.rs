//! How an acceptor comes by its socket: it binds one, or takes one that was passed on.

use rpc_proto::Address;

use crate::acceptor::Acceptor;
use crate::error::ServeError;
use crate::inherited;
use crate::listener::Listener;
use crate::report::Reporter;

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

    fn bind_listener(address: &Address, mode: Option<u32>) -> Result<Acceptor, ServeError> {
        let bind_error = |source| ServeError::Bind { address: address.clone(), source };
        let listener = Listener::bind(address, mode).map_err(bind_error)?;
        let local_address = listener.local_address().map_err(bind_error)?;
        Acceptor::new(listener, local_address, true)
    }

    /// Takes the listening socket that whoever started this program has passed on, as systemd's
    /// socket units do: sd_listen_fds(3). `None` when nothing was passed on to this process, or
    /// when it was taken before.
    ///
    /// `LISTEN_PID` has to be this process, `LISTEN_FDS` to be 1, and descriptor 3 a listening
    /// stream socket: TCP over IPv4 or IPv6, or a Unix socket with a file. To be called at the
    /// start, before anything else could have opened descriptor 3.
    ///
    /// The socket belongs to others as well: at the end its file is not removed, and whoever waits
    /// in its queue is left to them. The two variables stay in the environment, since removing
    /// them is not safe once there are threads. Programs that this one starts have other process
    /// ids and do not take them for theirs; one that replaces this process by exec(3) must remove
    /// or replace them.
    ///
    /// # Errors
    ///
    /// [`ServeError::Inherited`] when something else was passed on; [`ServeError::Setup`].
    pub fn inherited() -> Result<Option<Acceptor>, ServeError> {
        let Some(socket) = inherited::take_socket().map_err(ServeError::Inherited)? else {
            return Ok(None);
        };
        let listener = Listener::from_inherited(socket).map_err(ServeError::Inherited)?;
        let address = listener.local_address().map_err(ServeError::Inherited)?;
        let acceptor = Acceptor::new(listener, address, false)?;
        if let Some(pipe) = inherited::take_status_pipe().map_err(ServeError::Inherited)? {
            acceptor.control().set_reporter(Some(Reporter::new(pipe)));
        }
        Ok(Some(acceptor))
    }
}
