//! A file that names the process of a server and is locked for as long as that process lives.
//!
//! The lock is a record lock, `F_SETLK` of fcntl(2), as in the daemons of Stevens and Rago,
//! "Advanced Programming in the UNIX Environment", section 13.5. Of the three kinds it is the one
//! that belongs to a process: children that are forked do not hold it, so it ends with the process
//! that the file names, also by SIGKILL, however long its workers need; and the kernel tells who
//! holds it. flock(2) and open file description locks live on in the last child that has a copy of
//! the descriptor. The price: the lock is lost when the process closes any other descriptor of the
//! file, so a server must not open its own pidfile.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;

/// More than a process id and its line break need. Nothing longer is a pidfile.
const MAX_LEN: u64 = 16;

/// How often a file that has vanished since it was opened is opened again.
const MAX_TRIES: usize = 100;

/// Why there is no pidfile.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PidFileError {
    /// Another process holds it.
    #[error("{} is held by process {pid}, which still runs", path.display())]
    Held {
        /// The pidfile.
        path: PathBuf,
        /// Who holds it, as the kernel says; 0 if it lives in another pid namespace.
        pid: i32,
    },
    /// The file is something else: not a regular file, under several names, or with other content.
    /// It is left as it is.
    #[error("{} is no pidfile: {reason}", path.display())]
    Foreign {
        /// The path that was asked for.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It cannot be opened, locked or written.
    #[error("cannot create the pidfile {}", path.display())]
    Create {
        /// The path that was asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A pidfile that this process holds. Dropping it, and its clones, in the process that made it
/// removes the file.
///
/// A process that ends without dropping it leaves the file behind, without its lock: the next
/// server takes it over.
#[derive(Clone, Debug)]
#[must_use = "dropping it gives the lock up and removes the file"]
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
    /// Its mode is 0644 without what the umask takes away. A symbolic link is not followed. To be
    /// called once a path, and by the process that will be named: forked children do not hold it.
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
            // Its last holder may have removed it after we had opened it.
            if is_still(path, &file) {
                let held = Held { path: path.to_owned(), file, creator: process::id() };
                held.write().map_err(cannot)?;
                return Ok(PidFile { held: Arc::new(held) });
            }
        }
        Err(cannot(io::Error::other("somebody replaces it again and again")))
    }

    /// Makes room for the pidfile of a successor: this one is called `….oldbin` from now on, as
    /// nginx and Unicorn call it, and stays locked.
    ///
    /// # Errors
    ///
    /// When it cannot be renamed, or would replace what is no pidfile.
    pub fn step_aside(&self) -> io::Result<()> {
        let held = &self.held;
        if !is_still(&held.path, &held.file) {
            // Somebody has removed or replaced it: then there is nothing in the way of ours.
            return Ok(());
        }
        open_pid_file(&held.path_aside())?;
        fs::rename(&held.path, held.path_aside())
    }

    /// Takes the name back that was left to a successor, which has failed. Whose file stands there
    /// and still runs may keep it.
    ///
    /// # Errors
    ///
    /// When it cannot be renamed, or the name belongs to a process that runs.
    pub fn come_back(&self) -> io::Result<()> {
        let held = &self.held;
        if !is_still(&held.path_aside(), &held.file) {
            return Ok(());
        }
        if let Some(file) = open_pid_file(&held.path)?
            && let Some(pid) = holder(&file)?
        {
            return Err(io::Error::other(format!("process {pid} holds its name")));
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

    /// The number first and then the length, so that a reader never finds an empty file.
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
            // Not possible for a process that has dropped its privileges, unless the directory is
            // its own. At least the file no longer names a process that will soon be another.
            let _ = self.file.set_len(0);
            tracing::debug!(path = %path.display(), %error, "empty pidfile stays");
        }
    }
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    // O_NONBLOCK: nothing that stands there in place of a file makes us wait.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(create).truncate(false);
    options.mode(0o644).custom_flags(flags.bits()).open(path)
}

/// The pidfile at `path`, if there is one. What is none may not be replaced, and is an error.
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

/// Whether `path` itself, and not what it links to, is still that file.
fn is_still(path: &Path, file: &File) -> bool {
    let (Ok(found), Ok(ours)) = (fs::symlink_metadata(path), file.metadata()) else {
        return false;
    };
    (found.dev(), found.ino()) == (ours.dev(), ours.ino())
}

/// A slip of the pen in a configuration, or a hard link that an enemy made, must not cost a file
/// that means something.
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
    // Behind a new number there may still be the end of a longer one, for a moment.
    let is_pid = content.iter().all(|byte| byte.is_ascii_digit() || *byte == b'\n');
    let is_short = metadata.len() < MAX_LEN;
    Ok((!is_pid || !is_short).then_some("it has other content than a process id"))
}

/// Whether the lock is ours from now on.
fn lock(file: &File) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_SETLK(&WHOLE_FILE)) {
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        locked => Ok(locked.map(|_| true)?),
    }
}

/// Which other process holds the lock.
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
