//! A pipe whose writing end only the parent holds: when it ends, the parent has died.
//!
//! The kernel can send a signal at the death of a parent (`PR_SET_PDEATHSIG`), and forgets that
//! when the child changes its user or executes a program with another's rights (prctl(2)). A pipe
//! does not forget. Nobody needs to look at it either: its end makes the kernel send the same
//! signal (O_ASYNC, fcntl(2)), also to a worker that is blocked in accept(2) or in a handler.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::fcntl::OFlag;
use nix::libc;
use nix::unistd::pipe2;

use crate::process::signal_on_event;

pub(crate) struct Lifeline {
    /// In a child: a reading end of its own.
    reader: OwnedFd,
    /// In the parent; nothing is ever written.
    writer: Option<OwnedFd>,
    /// The pipe's name for whoever has inherited `reader`, made before the fork: a child that
    /// allocates copies pages.
    inherited: String,
}

impl Lifeline {
    pub(crate) fn new() -> io::Result<Lifeline> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        let inherited = format!("/proc/self/fd/{}", reader.as_raw_fd());
        Ok(Lifeline { reader, writer: Some(writer), inherited })
    }

    /// In a new child: SIGTERM when the parent is gone. Its death before this is not noticed.
    pub(crate) fn hold(&mut self) -> io::Result<()> {
        self.writer = None;
        // Whom to signal belongs to the open file and not to the descriptor, so what a fork
        // inherits would be shared with all siblings: open it anew.
        let flags = OFlag::O_NONBLOCK.bits();
        let own = File::options().read(true).custom_flags(flags).open(&self.inherited)?;
        signal_on_event(own.as_fd(), libc::SIGTERM)?;
        self.reader = own.into();
        Ok(())
    }
}
