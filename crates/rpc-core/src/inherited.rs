//! What the program that started this one has passed on: descriptors from 3, as sd_listen_fds(3)
//! describes. systemd's socket units do it, and so does a master that starts its successor.

use std::env;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use crate::process::{take_passed_listener, take_passed_pipe};
use crate::scoreboard::own_pid;

/// sd_listen_fds(3), SD_LISTEN_FDS_START.
const FIRST_DESCRIPTOR: i32 = 3;

/// The descriptor of the status pipe that a master passes on to its successor, behind the socket.
pub(crate) const STATUS_VARIABLE: &str = "RPC_STATUS_FD";
pub(crate) const STATUS_DESCRIPTOR: i32 = FIRST_DESCRIPTOR + 1;

/// The one listening socket that was passed on to this process, closed on exec from now on.
pub(crate) fn take_socket() -> io::Result<Option<OwnedFd>> {
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
