//! What a server takes, all its processes together.

use std::collections::BTreeMap;
use std::fmt;

use crate::proc::{self, Memory};

/// All processes of a server together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) processes: usize,
    pub(crate) threads: usize,
    pub(crate) descriptors: usize,
    /// Children that have ended and that nobody has waited for.
    pub(crate) zombies: usize,
    /// In bytes; nothing where the kernel does not tell.
    pub(crate) memory: Memory,
    /// What the descriptors are, without their numbers.
    kinds: BTreeMap<String, usize>,
}

impl Usage {
    /// Of the process `root` and all below it, as it is now.
    pub(crate) fn of(root: i32) -> Usage {
        let tree = proc::tree(root);
        let mut usage = Usage { processes: tree.len(), ..Usage::default() };
        // A process that has ended meanwhile holds nothing.
        for pid in tree {
            usage.threads += proc::stat(pid).map_or(0, |stat| stat.threads);
            usage.zombies += proc::zombies(pid).len();
            let memory = proc::memory(pid).unwrap_or_default();
            usage.memory.pss += memory.pss;
            usage.memory.allocated += memory.allocated;
            for (_, target) in proc::descriptors(pid).unwrap_or_default() {
                usage.descriptors += 1;
                let kind = target.split(['[', '/']).next().filter(|kind| !kind.is_empty());
                *usage.kinds.entry(kind.unwrap_or("file").to_owned()).or_default() += 1;
            }
        }
        usage
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Usage { processes, threads, descriptors, zombies, memory, kinds } = self;
        write!(
            f,
            "processes: {processes}, threads: {threads}, descriptors: {descriptors} {kinds:?}, \
             zombies: {zombies}, PSS: {} KiB",
            memory.allocated / 1024
        )
    }
}
