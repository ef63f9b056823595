//! What a server takes, all its processes together.

use crate::proc;

/// What a tree of processes uses.
#[derive(Clone, Copy)]
pub(super) struct Usage {
    pub(super) processes: usize,
    pub(super) threads: usize,
    /// The proportional set size: a page that several processes map counts once, divided among
    /// them. `None` where the kernel does not tell.
    pub(super) pss_kib: Option<u64>,
}

pub(super) fn usage(root: i32) -> Usage {
    let tree = proc::tree(root);
    let stats = tree.iter().filter_map(|&pid| proc::stat(pid).ok());
    let pss = tree.iter().map(|&pid| Some(proc::memory(pid).ok()?.pss / 1024));
    Usage {
        processes: tree.len(),
        threads: stats.map(|stat| stat.threads).sum(),
        pss_kib: pss.sum(),
    }
}
