//! Descriptors that the parent program passed on, numbered from 3, as sd_listen_fds(3) describes.
//! systemd passes on sockets in this way, and so does a server during an upgrade.
#![allow(unsafe_code)]

use std::env;
use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::process;
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::write;

/// SD_LISTEN_FDS_START of sd_listen_fds(3).
const SOCKET: RawFd = 3;

/// The status pipe follows the only socket.
const STATUS_PIPE_FD: RawFd = SOCKET + 1;

/// The environment variable with the descriptor of the status pipe. Through this pipe a program
/// reports to the server that it replaces that it is ready.
pub const STATUS_VARIABLE: &str = "RPC_STATUS_FD";

/// The report, which is the same as a worker's report to its master.
const READY: &[u8] = b"r\n";

/// The writing end of the status pipe, until the report is sent.
static STATUS_PIPE: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Takes the listening socket that was passed on to this process, as systemd's socket units do:
/// sd_listen_fds(3). `None` when nothing was passed on, or when the socket was taken before.
///
/// `LISTEN_PID` must be this process, `LISTEN_FDS` must be 1, and descriptor 3 must be a listening
/// stream socket. Call this at the start, before other code could have opened descriptor 3. Does
/// not block. The socket gets the close-on-exec flag.
///
/// Other processes may share the socket. The two variables stay in the environment, since removing
/// them is not safe once there are threads. Programs that this one starts have other process ids,
/// so they ignore the variables; before this process executes another program with exec(3), it must
/// remove or replace them.
///
/// # Errors
///
/// When the variables are not numbers, or when anything but one listening socket was passed on.
pub fn inherited_socket() -> io::Result<Option<OwnedFd>> {
    // The process id shows whether the variables are meant for this process: all programs that
    // the addressee starts inherit them.
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
    // If the variables are wrong, descriptor 3 is something that this process has opened itself. It
    // is not a listening socket then, and stays untouched.
    // SAFETY: this function is called before other code runs that might close what it found.
    let borrowed = unsafe { borrow_open(SOCKET) }?;
    if !getsockopt(&borrowed, sockopt::AcceptConn)? {
        return Err(invalid(format_args!("it is not a listening stream socket")));
    }
    set_close_on_exec(borrowed)?;
    *was_taken = true;
    // SAFETY: it is open, was inherited, and is taken only once, so nothing else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(SOCKET) };

    // The variable may be left from the start of an earlier program, like any other.
    if number(STATUS_VARIABLE)? == Some(STATUS_PIPE_FD as u32)
        // SAFETY: as above.
        && let Ok(borrowed) = unsafe { borrow_open(STATUS_PIPE_FD) }
        && SFlag::from_bits_truncate(fstat(borrowed)?.st_mode).contains(SFlag::S_IFIFO)
    {
        set_close_on_exec(borrowed)?;
        // SAFETY: as above; the same environment, which is meant for this process, names it.
        let pipe = unsafe { OwnedFd::from_raw_fd(STATUS_PIPE_FD) };
        *STATUS_PIPE.lock().unwrap_or_else(PoisonError::into_inner) = Some(pipe);
    }
    Ok(Some(socket))
}

/// Reports to the server that this program replaces, if there is one, that this program is ready.
/// A second call does nothing. Does not block.
pub fn report_ready() {
    let pipe = STATUS_PIPE.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(pipe) = pipe
        && let Err(error) = write(&pipe, READY)
    {
        tracing::debug!(%error, "cannot report readiness to the server that this one replaces");
    }
}

/// Borrows the descriptor `number` after checking that it is open.
///
/// # Safety
///
/// It must stay open while it is borrowed.
unsafe fn borrow_open<'fd>(number: RawFd) -> io::Result<BorrowedFd<'fd>> {
    // SAFETY: F_GETFD takes any number.
    Errno::result(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    // SAFETY: it is open, and stays so by this function's contract.
    Ok(unsafe { BorrowedFd::borrow_raw(number) })
}

fn set_close_on_exec(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    fcntl(descriptor, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    Ok(())
}

/// The environment variable `name` as a number; `None` if it is not set.
fn number(name: &str) -> io::Result<Option<u32>> {
    let Some(value) = env::var_os(name) else {
        return Ok(None);
    };
    match value.to_str().and_then(|value| value.parse().ok()) {
        Some(number) => Ok(Some(number)),
        None => Err(invalid(format_args!("{name} is {value:?}, which is not a number"))),
    }
}

fn invalid(message: fmt::Arguments<'_>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.to_string())
}
