//! A new program for the old one: this process starts itself again and passes the socket on.
//!
//! The listening socket is passed on as sd_listen_fds(3) describes, and behind it a status pipe like
//! a worker's, through which the successor says that it is ready. It is not asked to say so to a
//! socket of ours in `NOTIFY_SOCKET`: later notices must reach the real service manager, and whoever
//! knows a socket's name could send the good news in its place.

use std::env;
use std::ffi::{CString, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::{execvpe, getpid, write};
use rpc_core::internal::{EXIT_NOT_EXECUTED, exit_now, forget_handlers};

use crate::child::{Report, StatusPipe};
use crate::children::Children;
use crate::error::ForkError;
use crate::kernel::{Forked, fork_only_thread, pass_on, refuse_threads};
use crate::signal_queue::SignalQueue;

/// sd_listen_fds(3), SD_LISTEN_FDS_START, and the descriptor behind the only one.
const SOCKET: i32 = 3;
const STATUS_PIPE: i32 = SOCKET + 1;

impl Children {
    /// Starts the program of this process again, with its arguments, its environment and the
    /// listening socket, and returns its process id. What becomes of it is told by
    /// [`wait`](Children::wait): [`Event::Ready`](crate::Event::Ready) or
    /// [`Event::Ended`](crate::Event::Ended). One that is not ready in time is killed.
    ///
    /// The variable `status_variable` names the descriptor of the pipe through which it says that
    /// it is ready, with the line `r`.
    ///
    /// The program is what the first argument names, now: with a slash a path, otherwise looked
    /// for in `PATH`. The link /proc/self/exe would lead to the old file, also when a new one
    /// stands in its place.
    ///
    /// # Errors
    ///
    /// [`ForkError`]. A program that cannot be executed is a child that ends.
    pub fn start_again(
        &mut self,
        socket: BorrowedFd<'_>,
        status_variable: &str,
    ) -> Result<i32, ForkError> {
        refuse_threads()?;
        let (status, reporter) = StatusPipe::new().map_err(ForkError::Descriptor)?;
        let _ = io::stdout().flush();
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
        let mask = mask.map_err(|errno| ForkError::Fork(errno.into()))?;
        match fork_only_thread() {
            Ok(Forked::Child) => {
                let Ok(mut passed) = pass_on(&[socket, reporter.as_fd()]) else {
                    exit_now(EXIT_NOT_EXECUTED);
                };
                forget_handlers();
                let mask = self.signals.as_ref().map_or(mask, SignalQueue::mask_before);
                let _ = mask.thread_set_mask();
                let error = execute_again(status_variable);
                if let Some(pipe) = passed.pop() {
                    let _ = write(&pipe, &Report::failed(&error.to_string()));
                }
                exit_now(EXIT_NOT_EXECUTED)
            }
            Ok(Forked::Parent(pid)) => {
                let _ = mask.thread_set_mask();
                self.add(pid, Some(status)).map(|()| pid)
            }
            Err(error) => {
                let _ = mask.thread_set_mask();
                Err(ForkError::Fork(error))
            }
        }
    }
}

/// Returns only if it fails.
fn execute_again(status_variable: &str) -> io::Error {
    let own = [
        ("LISTEN_PID", getpid().to_string()),
        ("LISTEN_FDS", "1".to_owned()),
        (status_variable, STATUS_PIPE.to_string()),
    ];
    let inherited = env::vars_os().filter(|(name, _)| {
        name != "LISTEN_FDNAMES" && !own.iter().any(|(own_name, _)| name == own_name)
    });
    let assignment = |(mut name, value): (OsString, OsString)| {
        name.push("=");
        name.push(value);
        name
    };
    let environment = inherited.chain(own.iter().map(|(name, value)| (name.into(), value.into())));
    let environment: Result<Vec<_>, _> = environment.map(assignment).map(c_string).collect();
    let arguments: Result<Vec<_>, _> = env::args_os().map(c_string).collect();
    match (arguments, environment) {
        (Ok(arguments), Ok(environment)) if !arguments.is_empty() => {
            match execvpe(&arguments[0], &arguments, &environment) {
                Ok(never) => match never {},
                Err(errno) => errno.into(),
            }
        }
        _ => io::Error::other("the command line of this process is not known"),
    }
}

fn c_string(text: OsString) -> Result<CString, std::ffi::NulError> {
    CString::new(text.into_vec())
}
