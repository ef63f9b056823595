//! A listening socket of either family.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, setsockopt,
    socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use rpc_proto::Address;

use crate::context::Peer;
use crate::scoreboard::own_pid;
use crate::socket::Socket;

/// Connections that the kernel completes and keeps until they are accepted; it lowers this to
/// net.core.somaxconn (listen(2)).
const BACKLOG: i32 = 4096;

/// Who may connect to a Unix socket: its owner.
const SOCKET_FILE_MODE: u32 = 0o600;

pub(crate) enum Listener {
    Tcp(TcpListener),
    /// The file is dropped first. Were nobody listening while it is still there, a server that
    /// starts just then could replace it, get the same inode number, and lose its own file to us.
    Unix(SocketFile, UnixListener),
}

impl Listener {
    /// Binds and listens. The socket does not block.
    pub(crate) fn bind(address: &Address) -> io::Result<Listener> {
        match address {
            Address::Tcp(host_and_port) => {
                // std sets SO_REUSEADDR: on Linux it lets a server start again while connections
                // of the last one linger, and still refuses two that listen (socket(7)).
                let listener = TcpListener::bind(host_and_port.as_str())?;
                // A second listen(2) changes nothing but the length of the queue.
                listen(&listener, Backlog::new(BACKLOG)?)?;
                // Connections inherit it.
                setsockopt(&listener, sockopt::TcpNoDelay, &true)?;
                listener.set_nonblocking(true)?;
                Ok(Listener::Tcp(listener))
            }
            Address::Unix(path) => {
                let (listener, file) = bind_unix(path)?;
                listener.set_nonblocking(true)?;
                Ok(Listener::Unix(file, listener))
            }
            other => {
                let message = format!("no way to listen on {other}");
                Err(io::Error::new(io::ErrorKind::Unsupported, message))
            }
        }
    }

    /// Where it really listens: port 0 has become the port that the kernel chose.
    pub(crate) fn local_address(&self) -> io::Result<Address> {
        match self {
            Listener::Tcp(listener) => Ok(Address::Tcp(listener.local_addr()?.to_string())),
            Listener::Unix(file, _) => Ok(Address::unix(&file.path)),
        }
    }

    /// Whether `accept` waits. The processes that share the socket share this.
    pub(crate) fn set_blocking(&self, blocking: bool) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => listener.set_nonblocking(!blocking),
            Listener::Unix(_, listener) => listener.set_nonblocking(!blocking),
        }
    }

    /// The next connection.
    pub(crate) fn accept(&self) -> io::Result<(Socket, Peer)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                Ok((Socket::Tcp(stream), Peer::Tcp(address)))
            }
            Listener::Unix(_, listener) => {
                let (stream, _) = listener.accept()?;
                Ok((Socket::Unix(stream), Peer::Unix))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(_, listener) => listener.as_fd(),
        }
    }
}

/// The file of a Unix socket; removed on drop by the process that made it, if it is still the same.
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
    creator: i32,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let still_ours = || Some(identity(&self.path).ok()? == self.identity);
        if self.creator == own_pid() && still_ours() == Some(true) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Binds `path`. A socket file that nobody listens on is replaced, one that somebody does never.
fn bind_unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // Between the look at the old file and the bind nobody else may do the same. The lock is on
    // the directory, so that no lock file stays behind; it ends with this function.
    let _lock = lock_directory(directory)?;
    remove_stale(path)?;
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // The mode of the socket becomes the mode of the file (unix(7)), so it never has another.
    fchmod(&socket, Mode::from_bits_truncate(SOCKET_FILE_MODE))?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    let file = SocketFile { path: path.to_owned(), identity: identity(path)?, creator: own_pid() };
    Ok((UnixListener::from(socket), file))
}

/// Waits a second at most: whoever can open the directory can also lock it for ever.
fn lock_directory(directory: &Path) -> io::Result<Flock<File>> {
    let mut directory = File::open(directory)?;
    for _ in 0..100 {
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((unlocked, Errno::EWOULDBLOCK)) => directory = unlocked,
            Err((_, errno)) => return Err(errno.into()),
        }
        // The end of another's lock is no event that poll(2) knows.
        let _ = poll(&mut [], PollTimeout::from(10_u8));
    }
    let message = "another process holds a lock on the directory of the socket";
    Err(io::Error::new(io::ErrorKind::WouldBlock, message))
}

fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        let message = "the path exists and is not a socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    // Without waiting: connect(2) says EAGAIN when somebody listens whose queue is full.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(probe.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path),
        Err(Errno::ENOENT) => Ok(()),
        Ok(()) | Err(Errno::EAGAIN) => Err(Errno::EADDRINUSE.into()),
        Err(errno) => Err(errno.into()),
    }
}
