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

/// The table of slots. It is created before any fork, so all processes of the server share it.
pub(crate) struct Scoreboard {
    table: SharedMapping<Table>,
    /// The process that created it.
    pub(crate) creator: i32,
    pub(crate) created_at: Instant,
    /// The index of this process's entry among the workers plus one, 0 when it has none.
    pub(crate) own_worker: AtomicUsize,
    /// All slots that this process ever had lie between these two: a child of fork has one, and
    /// walks over a thousand others would cost it page faults.
    first_own: AtomicUsize,
    end_of_own: AtomicUsize,
}

impl Scoreboard {
    pub(crate) fn new() -> io::Result<Scoreboard> {
        // SAFETY: a table consists of atomics, for each of which zero is valid.
        let table = unsafe { SharedMapping::new() }?;
        let (creator, created_at) = (own_pid(), Instant::now());
        Ok(Scoreboard {
            table,
            creator,
            created_at,
            own_worker: AtomicUsize::new(0),
            first_own: AtomicUsize::new(MAX_CONNECTIONS),
            end_of_own: AtomicUsize::new(0),
        })
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

    /// Takes a free slot for this process; `None` when all are taken.
    pub(crate) fn claim(&self) -> Option<usize> {
        let hint = &self.table.hint;
        let start = hint.load(Ordering::Relaxed);
        let index = (0..MAX_CONNECTIONS)
            .map(|step| (start + step) % MAX_CONNECTIONS)
            .filter(|&index| !self.slot(index).is_taken())
            .find(|&index| {
                // First, so that a process that dies in between leaves no slot that walks do not
                // reach.
                self.table.used.fetch_max(index + 1, Ordering::SeqCst);
                self.extend_own(index);
                self.slot(index).claim(own_pid())
            })?;
        hint.store(index + 1, Ordering::Relaxed);
        Some(index)
    }

    /// Called before a slot becomes this process's own: from then on walks reach it.
    fn extend_own(&self, index: usize) {
        self.first_own.fetch_min(index, Ordering::SeqCst);
        self.end_of_own.fetch_max(index + 1, Ordering::SeqCst);
    }

    /// Makes this process the owner of a slot that another one has claimed.
    pub(crate) fn adopt(&self, index: usize) {
        self.extend_own(index);
        self.slot(index).set_owner(own_pid());
    }

    /// Called in a new child, which has no slot yet.
    pub(crate) fn forget_own(&self) {
        self.first_own.store(MAX_CONNECTIONS, Ordering::SeqCst);
        self.end_of_own.store(0, Ordering::SeqCst);
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

    /// Ends the reading side of all connections of this process. Async-signal-safe.
    pub(crate) fn stop_reading(&self) {
        self.own_slots().for_each(Slot::stop_reading);
    }

    /// Sends `frame` to all callers whose handlers run in this process. Async-signal-safe.
    pub(crate) fn answer_running(&self, frame: &[u8], end: EndOfStream) {
        self.own_slots().for_each(|slot| slot.answer_running(frame, end));
    }

    /// Answers the calls of this process whose deadlines have passed. Async-signal-safe.
    pub(crate) fn answer_expired(&self, now: u64) -> DeadlineCheck {
        let mut check = DeadlineCheck::NOTHING;
        for slot in self.own_slots() {
            let of_slot = slot.answer_expired(now);
            check.next = check.next.min(of_slot.next);
            check.has_answered |= of_slot.has_answered;
        }
        check
    }

    /// Whether this process serves a connection.
    pub(crate) fn has_own_slot(&self) -> bool {
        self.own_slots().next().is_some()
    }

    fn own_slots(&self) -> impl Iterator<Item = &Slot> {
        let first = self.first_own.load(Ordering::SeqCst);
        let end = self.end_of_own.load(Ordering::SeqCst);
        let owner = own_pid();
        let slots = self.table.slots.get(first..end).unwrap_or_default();
        slots.iter().filter(move |slot| slot.owner() == owner)
    }

    /// Frees the slots of a process that has died, and its entry if it was a worker.
    pub(crate) fn release_all_of(&self, owner: i32) {
        if let Some(worker) = self.workers().find(owner) {
            worker.free();
        }
        self.used_slots().iter().filter(|slot| slot.owner() == owner).for_each(Slot::clear);
    }
}
