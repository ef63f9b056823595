//! Standard output and standard error of a server that must not depend on who reads them.
//!
//! A pipe that nobody reads fills up, and the next write to it blocks forever. A server must go
//! on serving, so what cannot be written at once is dropped.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::panic;
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};

/// An output that takes what it can at once and drops the rest. Writing never fails.
struct NeverBlocking<Stream> {
    stream: Stream,
    kind: Kind,
}

enum Kind {
    /// A pipe or a terminal, opened anew: O_NONBLOCK belongs to the open file description, and the
    /// one that was inherited is shared with other processes (open(2)).
    Reopened(File),
    Socket,
    /// A file, which never makes a writer wait, or something that cannot be opened anew.
    Other,
}

impl<Stream: AsFd> NeverBlocking<Stream> {
    fn new(stream: Stream) -> NeverBlocking<Stream> {
        let format = fstat(stream.as_fd()).map_or(0, |stat| stat.st_mode & SFlag::S_IFMT.bits());
        let may_block = format == SFlag::S_IFIFO.bits() || format == SFlag::S_IFCHR.bits();
        let reopened = || {
            let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
            let path = format!("/proc/self/fd/{}", stream.as_fd().as_raw_fd());
            OpenOptions::new().write(true).custom_flags(flags.bits()).open(path).ok()
        };
        let kind = match may_block.then(reopened).flatten() {
            Some(file) => Kind::Reopened(file),
            None if format == SFlag::S_IFSOCK.bits() => Kind::Socket,
            None => Kind::Other,
        };
        NeverBlocking { stream, kind }
    }

    fn write_now(&self, bytes: &[u8]) {
        let fd = self.stream.as_fd();
        match &self.kind {
            Kind::Reopened(file) => drop((&mut &*file).write(bytes)),
            Kind::Socket => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                let _ = send(fd.as_raw_fd(), bytes, flags);
            }
            Kind::Other => {
                let mut writable = [PollFd::new(fd, PollFlags::POLLOUT)];
                if poll(&mut writable, PollTimeout::ZERO) == Ok(1) {
                    let _ = nix::unistd::write(fd, bytes);
                }
            }
        }
    }
}

impl<Stream: AsFd> Write for &NeverBlocking<Stream> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_now(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes one line to standard output if that is possible at once.
pub fn say(line: &str) {
    NeverBlocking::new(io::stdout()).write_now(format!("{line}\n").as_bytes());
}

/// Writes all of `text` to standard output, and waits until it is taken. A reader that has seen
/// enough, such as `head`, is no failure.
///
/// # Errors
///
/// When standard output takes no more for another reason.
pub fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and(stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Writes one line to standard error if that is possible at once.
pub fn say_aside(line: &str) {
    NeverBlocking::new(io::stderr()).write_now(format!("{line}\n").as_bytes());
}

/// Writes an error and its causes to standard error if that is possible at once.
pub fn say_error(error: &anyhow::Error) {
    say_aside(&format!("error: {error:#}"));
}

/// Sends what the libraries log, at `level` and above, to standard error, and panics with it: the
/// default panic message would wait for a reader.
pub fn start(level: tracing::Level) {
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_writer(Arc::new(NeverBlocking::new(io::stderr())))
        .init();
    panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
}
