//! The file of a Unix socket: binding it, its mode and owner, removing it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::poll::{PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use nix::sys::stat::{Mode, fchmod};

use crate::sys::pid::own_pid;

const REPLACED: &str = "the socket file was replaced by another process";

/// Device and inode number of a file (stat(2)), which identify it under any name.
type Identity = (u64, u64);

/// The file of a Unix socket. The process that created it removes it on drop, unless another file
/// stands there by then.
pub(crate) struct SocketFile {
    pub(crate) path: PathBuf,
    identity: Identity,
    /// The process that created the file; 0 when the file was left to others.
    creator: i32,
}

impl SocketFile {
    /// Gives the file to another user and group, which only root may do; chown(2).
    pub(crate) fn change_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        let file = open_without_access(&self.path)?;
        if identity(&file.metadata()?) != self.identity {
            return Err(io::Error::new(io::ErrorKind::NotFound, REPLACED));
        }
        chown(proc_path(&file), Some(uid), Some(gid))
    }

    /// Another process listens there from now on, so the file stays.
    pub(crate) fn leave_to_others(&mut self) {
        self.creator = 0;
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.creator == own_pid() && is_same_file(&self.path, self.identity) {
            // A process that has dropped its privileges may fail here, unless it owns the
            // directory. The next server then finds a stale file and replaces it.
            if let Err(error) = fs::remove_file(&self.path) {
                tracing::debug!(path = %self.path.display(), %error, "socket file not removed");
            }
        }
    }
}

fn identity(metadata: &fs::Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// Whether `path` itself, and not the target of a link, is still that file.
fn is_same_file(path: &Path, expected: Identity) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| identity(&found) == expected)
}

/// Binds `path` and listens; the file has exactly the permissions `mode`, never more. A stale
/// socket file is replaced; one with a live listener never is. Blocks for 1 s at most.
pub(crate) fn bind_unix(path: &Path, mode: u32, backlog: i32) -> io::Result<(OwnedFd, SocketFile)> {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // No other server may do the same between the check of the old file and the bind. The lock is
    // on the directory, so that no lock file stays behind; it is released when this function ends.
    let _lock = lock_directory(directory)?;
    remove_stale(path)?;
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // The file gets the mode of the socket minus the umask (unix(7)), so it never has more
    // permissions than `mode`.
    fchmod(&socket, Mode::from_bits_truncate(mode))?;
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let file = open_without_access(path)?;
    let metadata = file.metadata()?;
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(io::ErrorKind::NotFound, REPLACED));
    }
    let identity = identity(&metadata);
    let bound = SocketFile { path: path.to_owned(), identity, creator: own_pid() };
    if metadata.permissions().mode() & 0o7777 != mode {
        fs::set_permissions(proc_path(&file), fs::Permissions::from_mode(mode))?;
    }
    listen(&socket, Backlog::new(backlog)?)?;
    Ok((socket, bound))
}

/// Opens the file at `path` itself, even a link or a socket, without access to its contents.
fn open_without_access(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}

/// A path to the opened file, even if another file has replaced it since.
fn proc_path(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Blocks for 1 s at most: any process that can open the directory can hold a lock on it without a
/// bound.
fn lock_directory(directory: &Path) -> io::Result<Flock<File>> {
    let mut directory = File::open(directory)?;
    for _ in 0..100 {
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((unlocked, Errno::EWOULDBLOCK)) => directory = unlocked,
            Err((_, errno)) => return Err(errno.into()),
        }
        // poll(2) cannot wait for the release of a lock.
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
    // Non-blocking: connect(2) fails with EAGAIN when there is a listener whose queue is full.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    match connect(probe.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path),
        Err(Errno::ENOENT) => Ok(()),
        Ok(()) | Err(Errno::EAGAIN) => Err(Errno::EADDRINUSE.into()),
        Err(errno) => Err(errno.into()),
    }
}
