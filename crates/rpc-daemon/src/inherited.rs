//! What the program that started this one has passed on: descriptors from 3, as sd_listen_fds(3)
//! describes. systemd's socket units do it, and so does a server that starts its new version.
#![allow(unsafe_code)]

use std::env;
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd};
use std::process;
use std::sync::{Mutex, PoisonError};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::write;

/// sd_listen_fds(3), SD_LISTEN_FDS_START.
const SOCKET: i32 = 3;

/// Names the descriptor of the pipe through which this program says to the server that it replaces
/// that it is ready.
pub const STATUS_VARIABLE: &str = "RPC_STATUS_FD";

/// What a worker says to its master, too, when it is ready.
const READY: &[u8] = b"r\n";

/// The writing end of that pipe, until it was used.
static STATUS_PIPE: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Takes the listening socket that the parent process has passed on, as systemd's socket units do:
/// sd_listen_fds(3). `None` when nothing was passed on to this process, or when it was taken before.
///
/// `LISTEN_PID` has to be this process, `LISTEN_FDS` to be 1, and descriptor 3 a listening stream
/// socket. To be called at the start, before anything else could have opened descriptor 3. Does
/// not block. The socket is closed on exec from now on.
///
/// The socket belongs to others as well. The two variables stay in the environment, since removing
/// them is not safe once there are threads. Programs that this one starts have other process ids
/// and do not take them for theirs; one that replaces this process by exec(3) must remove or
/// replace them.
///
/// # Errors
///
/// When the variables are no numbers, or when something else was passed on.
pub fn inherited_socket() -> io::Result<Option<OwnedFd>> {
    // The process id tells whether the variables are meant for this process: they are inherited
    // by everything that it starts.
    if number("LISTEN_PID")? != Some(process::id()) {
        return Ok(None);
    }
    let count = number("LISTEN_FDS")?;
    if let Some(count) = count.filter(|&count| count != 1) {
        return Err(invalid(format_args!(
            "LISTEN_FDS is {count}: a server listens on one socket, so pass on exactly one"
        )));
    }
    static WAS_TAKEN: Mutex<bool> = Mutex::new(false);
    let mut was_taken = WAS_TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    if count.is_none() || *was_taken {
        return Ok(None);
    }
    let socket = look_at(SOCKET)?;
    // Should the variables be wrong, then what this process has opened itself is at least no
    // listening socket, and is left alone.
    if !getsockopt(&socket, sockopt::AcceptConn)? {
        return Err(invalid(format_args!("it is not a listening stream socket")));
    }
    fcntl(socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    *was_taken = true;
    // SAFETY: it is open, came from outside, and this happens once, so nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(SOCKET) };

    if let Some(pipe) =
        number(STATUS_VARIABLE)?.map(|pipe| pipe as i32).filter(|&pipe| pipe > SOCKET)
        && fcntl(look_at(pipe)?, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).is_ok()
    {
        // SAFETY: as above: the same environment, which means this process, names it.
        let pipe = unsafe { OwnedFd::from_raw_fd(pipe) };
        *STATUS_PIPE.lock().unwrap_or_else(PoisonError::into_inner) = Some(pipe);
    }
    Ok(Some(socket))
}

/// Says to the server that this program replaces, if there is one, that it is ready. A second call
/// does nothing.
pub fn report_ready() {
    let pipe = STATUS_PIPE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(pipe) = pipe
        && let Err(error) = write(&pipe, READY)
    {
        tracing::debug!(%error, "the server before this one was not told");
    }
}

/// The open descriptor `number`, for a call or two.
fn look_at(number: i32) -> io::Result<BorrowedFd<'static>> {
    // SAFETY: F_GETFD of a number that is not open fails and does nothing else.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    fcntl(borrowed, FcntlArg::F_GETFD)?;
    Ok(borrowed)
}

/// The variable `name` as a number, `None` if it is not set.
fn number(name: &str) -> io::Result<Option<u32>> {
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
