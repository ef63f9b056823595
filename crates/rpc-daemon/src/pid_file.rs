//! A file that contains the process id of a server, and is locked for as long as that process
//! lives.
//!
//! The lock is a record lock, `F_SETLK` of fcntl(2), as in the daemons of Stevens and Rago,
//! "Advanced Programming in the UNIX Environment", section 13.5. Of the three kinds of lock, only
//! this one belongs to a process. Forked children do not hold it, so it ends with the process that
//! the file names, even by SIGKILL and however long its workers live; and the kernel can say which
//! process holds it. flock(2) and open file description locks last until the last child with a copy
//! of the descriptor ends. The price: the process loses the lock when it closes any other
//! descriptor of the file, so a server must not open its own pidfile.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;

/// The length limit of a pidfile, in bytes: more than a process id and its line break need.
const MAX_LEN: u64 = 16;

/// How often the file is opened again if it was removed or replaced meanwhile.
const MAX_TRIES: usize = 100;

/// Why the pidfile cannot be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PidFileError {
    /// Another process holds the pidfile.
    #[error("{} is held by process {pid}, which still runs", path.display())]
    Held {
        /// The pidfile.
        path: PathBuf,
        /// The process that holds it, from the kernel; 0 if it is in another pid namespace.
        pid: i32,
    },
    /// The file is not a pidfile: it is not a regular file, has several names, or has other
    /// content. It is left as it is.
    #[error("{} is not a pidfile: {reason}", path.display())]
    Foreign {
        /// The path that was asked for.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The pidfile cannot be opened, locked or written.
    #[error("cannot create the pidfile {}", path.display())]
    Create {
        /// The path that was asked for.
        path: PathBuf,
        /// The error of the system call.
        source: io::Error,
    },
}

/// A pidfile that this process holds. Dropping it and all its clones, in the process that created
/// it, removes the file.
///
/// A process that ends without dropping it leaves the file behind unlocked, and the next server
/// takes it over.
#[derive(Clone, Debug)]
#[must_use = "dropping it removes the file and releases the lock"]
pub struct PidFile {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    path: PathBuf,
    file: File,
    creator: u32,
}

impl PidFile {
    /// Creates the file, or takes over one whose process has ended, locks it, and writes this
    /// process's id and a line break into it. Does not block.
    ///
    /// Its mode is 0644, minus the umask. A symbolic link is not followed. Call this once per path,
    /// and in the process that the file is to name: forked children do not hold the lock.
    ///
    /// # Errors
    ///
    /// [`PidFileError`].
    pub fn create(path: impl AsRef<Path>) -> Result<PidFile, PidFileError> {
        let path = path.as_ref();
        let cannot = |source| PidFileError::Create { path: path.to_owned(), source };
        for _ in 0..MAX_TRIES {
            let file = open(path, true).map_err(cannot)?;
            if let Some(reason) = what_is_wrong(&file).map_err(cannot)? {
                return Err(PidFileError::Foreign { path: path.to_owned(), reason });
            }
            if !lock(&file).map_err(cannot)? {
                match holder(&file).map_err(cannot)? {
                    Some(pid) => return Err(PidFileError::Held { path: path.to_owned(), pid }),
                    None => continue,
                }
            }
            // Its previous holder may have removed it after it was opened here.
            if is_still(path, &file) {
                let held = Held { path: path.to_owned(), file, creator: process::id() };
                held.write().map_err(cannot)?;
                return Ok(PidFile { held: Arc::new(held) });
            }
        }
        Err(cannot(io::Error::other("another process keeps replacing it")))
    }

    /// Makes room for the pidfile of a new server during an upgrade: renames this one to
    /// `….oldbin`, the name that nginx and Unicorn use. It stays locked. Does not block.
    ///
    /// # Errors
    ///
    /// When the file cannot be renamed, or would replace a file that is not a pidfile.
    pub fn step_aside(&self) -> io::Result<()> {
        let held = &self.held;
        if !is_still(&held.path, &held.file) {
            // It was removed or replaced, so nothing of ours is in the way.
            return Ok(());
        }
        open_pid_file(&held.path_aside())?;
        fs::rename(&held.path, held.path_aside())
    }

    /// Renames the pidfile back after the upgrade has failed, unless the file of a process that
    /// still runs has the name. Does not block.
    ///
    /// # Errors
    ///
    /// When the file cannot be renamed, or a running process holds the file with the name.
    pub fn come_back(&self) -> io::Result<()> {
        let held = &self.held;
        if !is_still(&held.path_aside(), &held.file) {
            return Ok(());
        }
        if let Some(file) = open_pid_file(&held.path)?
            && let Some(pid) = holder(&file)?
        {
            return Err(io::Error::other(format!("process {pid} holds the file with its name")));
        }
        fs::rename(held.path_aside(), &held.path)
    }
}

impl Held {
    fn path_aside(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".oldbin");
        name.into()
    }

    /// Writes the number before it sets the length, so that a reader never finds an empty file.
    fn write(&self) -> io::Result<()> {
        let content = format!("{}\n", self.creator);
        self.file.write_all_at(content.as_bytes(), 0)?;
        self.file.set_len(content.len() as u64)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let names = [&self.path, &self.path_aside()];
        let mut ours = names.into_iter().filter(|path| is_still(path, &self.file));
        let Some(path) = ours.next().filter(|_| self.creator == process::id()) else {
            return;
        };
        if let Err(error) = fs::remove_file(path) {
            // A process that has dropped its privileges may fail here, unless it owns the
            // directory. The file is emptied, so that it does not name a process id that may be
            // reused.
            let _ = self.file.set_len(0);
            tracing::debug!(path = %path.display(), %error, "pidfile emptied but not removed");
        }
    }
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    // O_NONBLOCK: opening must not block, even if the path is a FIFO or a device.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create).truncate(false);
    options.mode(0o644).custom_flags(flags.bits()).open(path)
}

/// The pidfile at `path`; `None` if there is no file. Any other file must not be replaced, and is
/// an error.
fn open_pid_file(path: &Path) -> io::Result<Option<File>> {
    let file = match open(path, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match what_is_wrong(&file)? {
        Some(reason) => Err(io::Error::new(io::ErrorKind::AlreadyExists, reason)),
        None => Ok(Some(file)),
    }
}

/// Whether `path` itself, and not the target of a link, is still that file.
fn is_still(path: &Path, file: &File) -> bool {
    let (Ok(found), Ok(ours)) = (fs::symlink_metadata(path), file.metadata()) else {
        return false;
    };
    (found.dev(), found.ino()) == (ours.dev(), ours.ino())
}

/// Why the file is not a pidfile, if it is not. A typing error in a configuration, or an attacker's
/// hard link, must not destroy another file.
fn what_is_wrong(file: &File) -> io::Result<Option<&'static str>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Some("it is not a regular file"));
    }
    if metadata.nlink() > 1 {
        return Ok(Some("it has other names"));
    }
    let mut content = Vec::new();
    file.take(MAX_LEN).read_to_end(&mut content)?;
    // For a moment, a new number may be followed by the end of a longer old one.
    let is_pid = content.iter().all(|byte| byte.is_ascii_digit() || *byte == b'\n');
    let is_short = metadata.len() < MAX_LEN;
    Ok((!is_pid || !is_short).then_some("its content is not a process id"))
}

/// Tries to take the lock, and returns whether this process holds it now. Does not block.
fn lock(file: &File) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_SETLK(&WHOLE_FILE)) {
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        locked => Ok(locked.map(|_| true)?),
    }
}

/// The other process that holds the lock, if there is one.
fn holder(file: &File) -> io::Result<Option<i32>> {
    let mut lock = WHOLE_FILE;
    fcntl(file, FcntlArg::F_GETLK(&mut lock))?;
    Ok((lock.l_type != libc::F_UNLCK as libc::c_short).then_some(lock.l_pid))
}

const WHOLE_FILE: libc::flock = libc::flock {
    l_type: libc::F_WRLCK as libc::c_short,
    l_whence: libc::SEEK_SET as libc::c_short,
    l_start: 0,
    l_len: 0,
    l_pid: 0,
};
