//! Pinning a worker to one processor.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Pins this process to one processor: the `number`th of those that it may use, modulo their count.
/// A failure is logged, and the process continues unpinned.
pub(crate) fn pin_to_processor(number: usize) {
    let this = Pid::from_raw(0);
    let pinned = sched_getaffinity(this).and_then(|allowed| {
        let is_allowed = |cpu: &usize| allowed.is_set(*cpu) == Ok(true);
        let allowed: Vec<_> = (0..CpuSet::count()).filter(is_allowed).collect();
        let mut one = CpuSet::new();
        one.set(allowed[number % allowed.len().max(1)])?;
        sched_setaffinity(this, &one)
    });
    if let Err(error) = pinned {
        tracing::warn!(%error, "cannot pin a worker to one processor");
    }
}
