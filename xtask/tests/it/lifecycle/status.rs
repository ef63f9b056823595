//! What /proc/PID/status says of a process that lives.

use nix::sys::signal::Signal;
use procfs::process::{Process, Status};

/// Whether the first thread of the process keeps `signal` waiting; false if it has ended.
pub(crate) fn is_blocked(pid: i32, signal: Signal) -> bool {
    read(pid).is_some_and(|status| contains(status.sigblk, signal))
}

/// Whether the process ignores `signal`.
pub(crate) fn is_ignored(pid: i32, signal: Signal) -> bool {
    contains(of(pid).sigign, signal)
}

fn contains(set: u64, signal: Signal) -> bool {
    set & (1 << (signal as i32 - 1)) != 0
}

/// How often the process has gone to sleep of its own accord: a count that moves when it does
/// something.
pub(crate) fn switches(pid: i32) -> u64 {
    of(pid).voluntary_ctxt_switches.expect("the kernel counts them")
}

/// The processors that the first thread of the process may use.
pub(crate) fn processors(pid: i32) -> Vec<u32> {
    let ranges = of(pid).cpus_allowed_list.expect("the kernel tells");
    ranges.into_iter().flat_map(|(first, last)| first..=last).collect()
}

#[track_caller]
fn of(pid: i32) -> Status {
    read(pid).expect("the process lives")
}

fn read(pid: i32) -> Option<Status> {
    Process::new(pid).ok()?.status().ok()
}
