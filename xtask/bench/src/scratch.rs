//! A file for what a tool writes, gone when it was read.

use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

pub(crate) struct ScratchFile {
    path: PathBuf,
}

impl ScratchFile {
    /// A path in the directory for temporary files, which belongs to this process.
    pub(crate) fn new(purpose: &str) -> ScratchFile {
        let name = format!("xtask-bench-{}-{purpose}", process::id());
        ScratchFile { path: env::temp_dir().join(name) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn read(&self) -> io::Result<String> {
        fs::read_to_string(&self.path)
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
