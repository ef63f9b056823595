//! A pipe whose writing end only the parent holds: when it ends, the parent has died.
//!
//! The kernel can send a signal at the death of a parent (`PR_SET_PDEATHSIG`), and forgets that
//! when the child changes its user or executes a program with another's rights (prctl(2)). A pipe
//! does not forget. Nobody needs to look at it either: its end makes the kernel send the same
//! signal (O_ASYNC, fcntl(2)), also to a worker that is blocked in accept(2) or in a handler.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::libc;
use nix::sys::stat::{Mode, fstat};
use nix::unistd::pipe2;

use crate::process::signal_on_event;

const DESCRIPTORS: &str = "/proc/self/fd";

pub(crate) struct Lifeline {
    /// In a child: a reading end of its own.
    reader: OwnedFd,
    /// In the parent; nothing is ever written.
    writer: Option<OwnedFd>,
    /// The parent's open descriptors, and the name of `reader` among them.
    of_parent: Option<OwnedFd>,
    name: CString,
    /// The name for whoever has inherited `reader`. Both are made before the fork: a child that
    /// allocates copies pages.
    inherited: CString,
}

impl Lifeline {
    pub(crate) fn new() -> io::Result<Lifeline> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let of_parent = open(DESCRIPTORS, flags, Mode::empty())?;
        let number = reader.as_raw_fd();
        Ok(Lifeline {
            name: CString::new(number.to_string())?,
            inherited: CString::new(format!("{DESCRIPTORS}/{number}"))?,
            reader,
            writer: Some(writer),
            of_parent: Some(of_parent),
        })
    }

    /// In a new child: SIGTERM when the parent is gone. Its death before this is not noticed.
    pub(crate) fn hold(&mut self) -> io::Result<()> {
        self.writer = None;
        // Whom to signal belongs to the open file and not to the descriptor, so what a fork
        // inherits would be shared with all siblings: open it anew.
        let own = self.open_through_parent().or_else(|_| self.open_inherited())?;
        signal_on_event(own.as_fd(), libc::SIGTERM)?;
        self.reader = own;
        Ok(())
    }

    /// Under the parent's name: the kernel remembers each name under /proc that was used, and what
    /// it remembers of a process it must forget when that ends, which costs both a tenth of a fork.
    ///
    /// A parent that has changed its user keeps others out, and one that has died has no names.
    fn open_through_parent(&mut self) -> nix::Result<OwnedFd> {
        let of_parent = self.of_parent.take().ok_or(Errno::EBADF)?;
        let opened = openat(&of_parent, &*self.name, FLAGS, Mode::empty())?;
        // A parent that has given up its children may have given the number to another file.
        let identity = |fd: &OwnedFd| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino));
        match identity(&opened)? == identity(&self.reader)? {
            true => Ok(opened),
            false => Err(Errno::ENXIO),
        }
    }

    fn open_inherited(&self) -> nix::Result<OwnedFd> {
        open(&*self.inherited, FLAGS, Mode::empty())
    }
}

const FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);
