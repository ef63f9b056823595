//! What a server and its processes take, from proc_pid_status(5).

use std::collections::BTreeMap;
use std::fs;

use xtask::proc;

/// The most that each process of a tree has taken so far, in bytes.
#[derive(Debug)]
pub(crate) struct Peaks(BTreeMap<i32, Peak>);

#[derive(Debug)]
struct Peak {
    address_space: u64,
    resident: u64,
}

impl Peaks {
    /// The process `root` and all that descend from it.
    pub(crate) fn of_tree(root: i32) -> Peaks {
        let tree = proc::tree(root).into_iter();
        let peaks: BTreeMap<_, _> = tree.filter_map(|pid| Some((pid, Peak::of(pid)?))).collect();
        assert!(peaks.contains_key(&root), "the server runs");
        Peaks(peaks)
    }

    /// In no process has more than a MiB of memory been filled since `before`, nor more than
    /// `reserved` bytes of addresses been taken, filled or not. The C library takes 64 MiB of
    /// addresses for a new thread, which may come at any time.
    #[track_caller]
    pub(crate) fn assert_little_more_than(&self, before: &Peaks, reserved: u64) {
        const MEBIBYTE: u64 = 1024 * 1024;
        for (pid, peak) in &self.0 {
            let earlier = before.0.get(pid).expect("no process is new");
            let taken = peak.address_space.saturating_sub(earlier.address_space);
            // The kernel counts resident pages a little behind, so this may even shrink.
            let filled = peak.resident.saturating_sub(earlier.resident);
            assert!(
                filled <= MEBIBYTE && taken <= reserved,
                "process {pid}: {earlier:?} became {peak:?}",
            );
        }
    }
}

impl Peak {
    /// `None` when the process has ended.
    fn of(pid: i32) -> Option<Peak> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes = line.trim().strip_suffix(" kB")?;
            Some(kibibytes.trim().parse::<u64>().ok()? * 1024)
        };
        Some(Peak { address_space: bytes("VmPeak:")?, resident: bytes("VmHWM:")? })
    }
}
