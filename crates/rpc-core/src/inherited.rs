//! What the program that started this one has passed on: descriptors from 3, as sd_listen_fds(3)
//! describes. systemd's socket units do it, and so does a master that starts its successor.

use std::env;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use crate::acceptor::Acceptor;
use crate::error::ServeError;
use crate::listener::Listener;
use crate::process::{take_passed_listener, take_passed_pipe};
use crate::report::Reporter;
use crate::scoreboard::own_pid;

/// sd_listen_fds(3), SD_LISTEN_FDS_START.
const FIRST_DESCRIPTOR: i32 = 3;

/// The descriptor of the status pipe that a master passes on to its successor, behind the socket.
pub(crate) const STATUS_VARIABLE: &str = "RPC_STATUS_FD";
pub(crate) const STATUS_DESCRIPTOR: i32 = FIRST_DESCRIPTOR + 1;

impl Acceptor {
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
        let Some(socket) = take_socket().map_err(ServeError::Inherited)? else {
            return Ok(None);
        };
        let listener = Listener::from_inherited(socket).map_err(ServeError::Inherited)?;
        let address = listener.local_address().map_err(ServeError::Inherited)?;
        let acceptor = Acceptor::new(listener, address, false)?;
        if let Some(pipe) = take_status_pipe().map_err(ServeError::Inherited)? {
            acceptor.control().set_reporter(Some(Reporter::new(pipe)));
        }
        Ok(Some(acceptor))
    }
}

/// The one listening socket that was passed on to this process, closed on exec from now on.
fn take_socket() -> io::Result<Option<OwnedFd>> {
    // The process id tells whether the variables are meant for this process: they are inherited
    // by everything that it starts.
    if number::<i32>("LISTEN_PID")? != Some(own_pid()) {
        return Ok(None);
    }
    match number::<u32>("LISTEN_FDS")? {
        None => Ok(None),
        Some(1) => take_passed_listener(FIRST_DESCRIPTOR),
        Some(count) => Err(invalid(format_args!(
            "LISTEN_FDS is {count}: a server listens on one socket, so pass on exactly one"
        ))),
    }
}

/// The pipe through which this process says to the master before it that it is ready. To be called
/// when [`take_socket`] has found a socket, and with it that the environment means this process.
pub(crate) fn take_status_pipe() -> io::Result<Option<OwnedFd>> {
    match number::<i32>(STATUS_VARIABLE)? {
        Some(STATUS_DESCRIPTOR) => take_passed_pipe(STATUS_DESCRIPTOR),
        _ => Ok(None),
    }
}

/// The variable `name` as a number, `None` if it is not set.
fn number<N: FromStr>(name: &str) -> io::Result<Option<N>> {
    let Some(value) = env::var_os(name) else {
        return Ok(None);
    };
    match value.to_str().and_then(|value| value.parse().ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(invalid(format_args!("{name} is {value:?}, which is no number"))),
    }
}

fn invalid(message: fmt::Arguments<'_>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.to_string())
}
