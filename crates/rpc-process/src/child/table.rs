//! The children that are not reaped yet, stored so that a fork copies few pages.
#![allow(unsafe_code)]

use std::mem;
use std::os::fd::{AsRawFd, RawFd};

use super::ChildHandle;
use crate::kernel::close_range;

/// How many children are stored in the value itself.
const NEWEST: usize = 4;

/// How many descriptor numbers one pass over the table covers.
const WINDOW: usize = 1024;

/// The children, in no order.
///
/// A page that the parent writes between two forks is copied, and the first child keeps the old
/// copy for as long as it lives. Pages of the stack are written anyway. Therefore the newest
/// children are stored in the value itself, which its owner keeps on the stack, and the heap is
/// written only now and then. A map would write many pages.
pub(crate) struct ChildTable {
    newest: [Option<ChildHandle>; NEWEST],
    others: Vec<ChildHandle>,
}

impl ChildTable {
    pub(crate) const fn new() -> ChildTable {
        ChildTable { newest: [const { None }; NEWEST], others: Vec::new() }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &ChildHandle> + Clone {
        self.newest.iter().flatten().chain(&self.others)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut ChildHandle> {
        self.newest.iter_mut().flatten().chain(&mut self.others)
    }

    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }

    pub(crate) fn find(&mut self, pid: i32) -> Option<&mut ChildHandle> {
        self.iter_mut().find(|child| child.pid == pid)
    }

    pub(crate) fn push(&mut self, child: ChildHandle) {
        if self.newest.iter().all(Option::is_some) {
            self.others.extend(self.newest.iter_mut().filter_map(Option::take));
        }
        let free = self.newest.iter_mut().find(|entry| entry.is_none());
        *free.expect("an entry was free, or all were emptied") = Some(child);
    }

    pub(crate) fn remove(&mut self, pid: i32) -> Option<ChildHandle> {
        let is_it = |child: &ChildHandle| child.pid == pid;
        if let Some(entry) = self.newest.iter_mut().find(|entry| entry.as_ref().is_some_and(is_it))
        {
            return entry.take();
        }
        let at = self.others.iter().position(is_it)?;
        Some(self.others.swap_remove(at))
    }

    /// Called in a new child: closes its copies of its siblings' pidfds and status pipes.
    ///
    /// There may be hundreds, so this takes a few system calls for all. It neither writes nor frees
    /// heap memory: either would copy pages. Not inlined, because pages of the stack are copied
    /// too.
    #[inline(never)]
    pub(crate) fn close_in_child(&mut self) {
        let pidfds = self.iter().map(|child| child.pidfd.as_raw_fd());
        let pipes = self.iter().filter_map(|child| child.status.as_ref());
        let descriptors = pidfds.chain(pipes.map(|pipe| pipe.reader.as_raw_fd()));
        // SAFETY: they belong to the handles, which are forgotten below.
        each_range(descriptors, |first, last| unsafe { close_range(first, last) });
        self.newest.iter_mut().filter_map(Option::take).for_each(mem::forget);
        mem::forget(mem::take(&mut self.others));
    }
}

/// Calls `act` with the first and the last descriptor of each run of consecutive numbers. Allocates
/// nothing.
fn each_range(descriptors: impl Iterator<Item = RawFd> + Clone, mut act: impl FnMut(RawFd, RawFd)) {
    let mut from = 0;
    while let Some(start) = descriptors.clone().filter(|&fd| fd >= from).min() {
        let mut words = [0_u64; WINDOW / 64];
        for offset in descriptors.clone().filter_map(|fd| usize::try_from(fd - start).ok()) {
            if let Some(word) = words.get_mut(offset / 64) {
                *word |= 1 << (offset % 64);
            }
        }
        let is_set = |offset: &usize| words[offset / 64] >> (offset % 64) & 1 == 1;
        let mut end = 0;
        while let Some(first) = (end..WINDOW).find(is_set) {
            end = (first..WINDOW).find(|offset| !is_set(offset)).unwrap_or(WINDOW);
            act(start + first as RawFd, start + (end - 1) as RawFd);
        }
        let Some(next) = start.checked_add(WINDOW as RawFd) else {
            return;
        };
        from = next;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::child::StatusPipe;

    fn child(pid: i32, status: Option<StatusPipe>) -> ChildHandle {
        let pidfd = std::fs::File::open("/dev/null").unwrap().into();
        ChildHandle::new(pid, pidfd, status, Duration::ZERO, Duration::ZERO)
    }

    #[test]
    fn ranges_hold_exactly_the_descriptors() {
        let check = |descriptors: &[RawFd], at_most: usize| {
            let mut seen = Vec::new();
            let mut calls = 0;
            each_range(descriptors.iter().copied(), |first, last| {
                seen.extend(first..=last);
                calls += 1;
            });
            seen.sort_unstable();
            let mut expected = descriptors.to_vec();
            expected.sort_unstable();
            assert_eq!(seen, expected);
            assert!(calls <= at_most, "{calls} ranges for {descriptors:?}");
        };
        check(&[], 0);
        check(&[7], 1);
        check(&[9, 7, 8], 1);
        check(&[5, 7, 9, 8], 2);
        check(&(3..515).rev().collect::<Vec<_>>(), 8);
        check(&(0..64).collect::<Vec<_>>(), 1);
        check(&(100..3000).filter(|fd| fd % 5 != 0).collect::<Vec<_>>(), 700);
        check(&[3, 1026, 1027, 1028, 5000, RawFd::MAX], 5);
    }

    #[test]
    fn children_are_found_wherever_they_are() {
        let mut table = ChildTable::new();
        for pid in 1..=100 {
            table.push(child(pid, None));
        }
        let mut left: Vec<i32> = (1..=100).collect();
        for pid in [1, 100, 50, 99, 8, 9, 92] {
            assert_eq!(table.remove(pid).map(|child| child.pid), Some(pid));
            assert!(table.remove(pid).is_none(), "{pid} is gone");
            left.retain(|&other| other != pid);
            let mut found: Vec<i32> = table.iter().map(|child| child.pid).collect();
            found.sort_unstable();
            assert_eq!(found, left);
            assert_eq!(table.len(), left.len());
        }
    }

    /// The writers notice: writing to a pipe whose last reader is closed fails.
    #[test]
    fn a_child_keeps_no_status_pipe_of_a_sibling() {
        let mut table = ChildTable::new();
        let mut reporters = Vec::new();
        for pid in 1..=10 {
            let (status, reporter) = StatusPipe::new().unwrap();
            reporters.push(reporter);
            table.push(child(pid, Some(status)));
        }
        table.close_in_child();
        assert_eq!(table.len(), 0);
        for reporter in reporters {
            assert_eq!(nix::unistd::write(&reporter, b"x"), Err(nix::errno::Errno::EPIPE));
        }
    }
}
