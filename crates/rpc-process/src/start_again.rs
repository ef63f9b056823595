//! Upgrading the program: this process starts itself again and passes the socket on.
//!
//! The listening socket is passed on as sd_listen_fds(3) describes, and after it a status pipe like
//! a worker's, through which the new server reports that it is ready. The report does not go to a
//! socket of ours in `NOTIFY_SOCKET`, because later notices must reach the real service manager,
//! and any process that knows a socket's name could send a false report.

use std::env;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{self, Command};

use nix::unistd::ForkResult;
use rpc_core::internal::forget_handlers;

use crate::child::StatusPipe;
use crate::children::Children;
use crate::error::ForkError;
use crate::kernel::{STATUS_PIPE, execute, fork_only_thread, refuse_threads};

impl Children {
    /// Starts the program of this process again, with its arguments, its environment and the
    /// listening socket, and returns the process id of the new one. Does not wait for it:
    /// [`wait`](Children::wait) reports what becomes of it, as
    /// [`Event::Ready`](crate::Event::Ready) or [`Event::Exited`](crate::Event::Exited). If it is
    /// not ready within the [boot timeout](crate::WorkerTimeouts::boot), it is made to end.
    ///
    /// The variable `status_variable` contains the descriptor number of the pipe through which the
    /// new process reports that it is ready, with the line `r`.
    ///
    /// The program is the file that the first argument names now: a path if it contains a slash,
    /// otherwise a file found through `PATH`. The link /proc/self/exe would lead to the old file
    /// even if a new one has replaced it.
    ///
    /// # Errors
    ///
    /// [`ForkError`]. If the program cannot be executed, that is no error here: the child ends.
    pub fn start_again(
        &mut self,
        socket: BorrowedFd<'_>,
        status_variable: &str,
    ) -> Result<i32, ForkError> {
        let one_thread = refuse_threads()?;
        let (status, reporter) = StatusPipe::new().map_err(ForkError::Descriptor)?;
        let (forked, mask) =
            fork_only_thread(one_thread).map_err(|errno| ForkError::Fork(errno.into()))?;
        if let ForkResult::Parent { child } = forked {
            return self.add(child.as_raw(), Some(status)).map(|()| child.as_raw());
        }
        forget_handlers();
        let _ = self.mask_before(mask).thread_set_mask();
        execute(this_program(status_variable), socket, reporter.as_fd())
    }
}

/// The program of this process, with the variables of sd_listen_fds(3) in its environment.
fn this_program(status_variable: &str) -> Command {
    let mut arguments = env::args_os();
    let mut program = Command::new(arguments.next().unwrap_or_default());
    program
        .args(arguments)
        .env_remove("LISTEN_FDNAMES")
        .env("LISTEN_PID", process::id().to_string())
        .env("LISTEN_FDS", "1")
        .env(status_variable, STATUS_PIPE.to_string());
    program
}
