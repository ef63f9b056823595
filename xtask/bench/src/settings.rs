//! What the options of a run come to.

use std::path::PathBuf;
use std::time::Duration;

use crate::exchange::Called;

/// What holds for the whole run.
pub(crate) struct Settings {
    /// This program, which is server and floor too.
    pub(crate) program: PathBuf,
    pub(crate) called: Called,
    pub(crate) payload: usize,
    pub(crate) workers: usize,
    pub(crate) rounds: usize,
    pub(crate) turn: Duration,
    /// How many connections are idle when their memory is measured.
    pub(crate) idle: usize,
    /// How many are idle beside one that is not.
    pub(crate) crowd: usize,
    pub(crate) file_limit: usize,
}
