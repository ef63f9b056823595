//! The scoreboard: one slot per connection, in memory that all processes of the server share.
//!
//! A slot says which process serves a connection, through which descriptor, and which phase of a
//! call it is in. This makes a stop immediate, and ensures that each call is answered once:
//!
//! - **Stop.** A process that stops walks its own slots and calls `shutdown(fd, SHUT_RD)` on each.
//!   A blocked read returns at once; bytes that were received before are still read and answered.
//! - **Deadlines.** A call whose deadline passes is answered while its handler still runs.
//! - **Crashes and the end of the grace.** A process that must exit while handlers run answers in
//!   their place.
//! - **Stats.** The process that answers `rpc.stats` reads all slots (`stats.rs`).
//!
//! The table consists of atomics, without locks and without pointers that another process follows,
//! so a process that dies at any instruction leaves it usable.
#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::scoreboard::counters::Counters;
use crate::scoreboard::slot::{DeadlineCheck, EndOfStream, Slot};
use crate::scoreboard::workers::Workers;
use crate::sys::mapping::SharedMapping;
use crate::sys::pid::own_pid;

/// How many connections one server can serve at a time, in all its threads and processes.
///
/// The table is 1.2 MiB of address space; only pages that were ever used take memory.
pub const MAX_CONNECTIONS: usize = 16_384;

#[repr(C)]
struct Table {
    /// Slots from this index on were never used; a walk ends here.
    used: AtomicUsize,
    /// Where the search for a free slot starts. Low slots are reused first.
    hint: AtomicUsize,
    counters: Counters,
    slots: [Slot; MAX_CONNECTIONS],
    workers: Workers,
}

impl Table {
    fn claim(&self, index: usize, owner: i32) -> bool {
        let slot = &self.slots[index];
        if slot.is_taken() {
            return false;
        }
        // First, so that a process that dies in between leaves no slot that walks do not reach.
        self.used.fetch_max(index + 1, Ordering::SeqCst);
        slot.claim(owner)
    }
}

/// The table of slots. It is created before any fork, so all processes of the server share it.
pub(crate) struct Scoreboard {
    table: SharedMapping<Table>,
    /// The process that created it.
    pub(crate) creator: i32,
    pub(crate) created_at: Instant,
    /// The index of this process's entry among the workers plus one, 0 when it has none.
    pub(crate) own_worker: AtomicUsize,
}

impl Scoreboard {
    pub(crate) fn new() -> io::Result<Scoreboard> {
        // SAFETY: a table consists of atomics, for each of which zero is valid.
        let table = unsafe { SharedMapping::new() }?;
        let (creator, created_at) = (own_pid(), Instant::now());
        Ok(Scoreboard { table, creator, created_at, own_worker: AtomicUsize::new(0) })
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.table.counters
    }

    pub(crate) fn workers(&self) -> &Workers {
        &self.table.workers
    }

    /// The slots that were ever used; all others are free.
    pub(crate) fn used_slots(&self) -> &[Slot] {
        let table = &self.table;
        &table.slots[..table.used.load(Ordering::SeqCst).min(MAX_CONNECTIONS)]
    }

    /// Takes a free slot for the process `owner`; `None` when all are taken.
    pub(crate) fn claim(&self, owner: i32) -> Option<usize> {
        let table = &self.table;
        let start = table.hint.load(Ordering::Relaxed);
        let index = (0..MAX_CONNECTIONS)
            .map(|step| (start + step) % MAX_CONNECTIONS)
            .find(|&index| table.claim(index, owner))?;
        table.hint.store(index + 1, Ordering::Relaxed);
        Some(index)
    }

    #[inline]
    pub(crate) fn slot(&self, index: usize) -> &Slot {
        &self.table.slots[index]
    }

    /// Frees a slot, unless it was left to another process. The descriptor may then be closed.
    pub(crate) fn release(&self, index: usize) {
        let slot = self.slot(index);
        if slot.owner() == own_pid() {
            slot.forget_socket();
            slot.become_idle();
            let calls = slot.calls.end_connection();
            if let Some(worker) = self.own_worker() {
                worker.add_calls(calls);
            }
            slot.set_owner(0);
            self.table.hint.fetch_min(index, Ordering::Relaxed);
        }
    }

    /// Ends the reading side of all connections of `owner`, which must be this process.
    /// Async-signal-safe.
    pub(crate) fn stop_reading(&self, owner: i32) {
        for slot in self.slots_of(owner) {
            slot.stop_reading();
        }
    }

    /// Sends `frame` to all callers whose handlers run in `owner`, which must be this process.
    /// Async-signal-safe.
    pub(crate) fn answer_running(&self, owner: i32, frame: &[u8], end: EndOfStream) {
        for slot in self.slots_of(owner) {
            slot.answer_running(frame, end);
        }
    }

    /// Answers the calls of `owner`, which must be this process, whose deadlines have passed.
    /// Async-signal-safe.
    pub(crate) fn answer_expired(&self, owner: i32, now: u64) -> DeadlineCheck {
        let mut check = DeadlineCheck::NOTHING;
        for slot in self.slots_of(owner) {
            let of_slot = slot.answer_expired(now);
            check.next = check.next.min(of_slot.next);
            check.has_answered |= of_slot.has_answered;
        }
        check
    }

    /// Frees the slots of a process that has died, and its entry if it was a worker.
    pub(crate) fn release_all_of(&self, owner: i32) {
        if let Some(worker) = self.workers().find(owner) {
            worker.free();
        }
        for slot in self.slots_of(owner) {
            slot.clear();
        }
    }

    /// Whether the process `owner` serves a connection.
    pub(crate) fn has_slot_of(&self, owner: i32) -> bool {
        self.slots_of(owner).next().is_some()
    }

    fn slots_of(&self, owner: i32) -> impl Iterator<Item = &Slot> {
        self.used_slots().iter().filter(move |slot| slot.owner() == owner)
    }
}

impl AsRef<Scoreboard> for Scoreboard {
    fn as_ref(&self) -> &Scoreboard {
        self
    }
}
