//! The scoreboard: one slot a connection, in memory that every process of the server shares.
//!
//! A slot says which process serves a connection, through which descriptor, and where in a call
//! it stands. It is what makes a stop instant and an answer unique:
//!
//! - **Stop.** Whoever learns that it is time to stop walks the slots of its own process and calls
//!   `shutdown(fd, SHUT_RD)` on each. A blocked read returns at once; what was received before is
//!   still read and answered.
//! - **Deadlines.** A call whose time is up is answered while its handler still runs.
//! - **Last words.** A process that must end while handlers run answers in their place.
//! - **Stats.** Whoever is asked reads all slots, and counts and shows what it finds (`stats.rs`).
//!
//! One compare-and-swap on the phase decides whether the handler or somebody else answers.
//!
//! Only atomics, no locks that outlive a process, and no pointer that another process follows, so
//! a process that dies at any instruction leaves the table usable.
#![allow(unsafe_code)]

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::scoreboard::calls::Calls;
use crate::scoreboard::counters::Tallies;
use crate::scoreboard::workers::{Membership, Workers};
use crate::serve::refusal::DeadlineFrame;

/// Connections that one server can serve at a time, over all its threads and processes.
///
/// The table is 1.2 MiB of address space; only the pages that were ever used take memory.
pub const MAX_CONNECTIONS: usize = 16_384;

#[repr(C)]
struct Table {
    /// Slots from here on were never used; a walk ends here.
    used: AtomicUsize,
    /// Where the search for a free slot starts: low slots are used again first.
    hint: AtomicUsize,
    tallies: Tallies,
    slots: [Slot; MAX_CONNECTIONS],
    workers: Workers,
}

impl Table {
    fn claim(&self, index: usize, owner: i32) -> bool {
        let slot = &self.slots[index].owner;
        if slot.load(Ordering::Relaxed) != 0 {
            return false;
        }
        // First, so that a process which dies in between leaves no slot that no walk reaches.
        self.used.fetch_max(index + 1, Ordering::SeqCst);
        let (success, failure) = (Ordering::SeqCst, Ordering::Relaxed);
        slot.compare_exchange(0, owner, success, failure).is_ok()
    }
}

/// The state of one connection. A cache line of its own, so that neighbours do not slow it down.
#[repr(C, align(64))]
pub(crate) struct Slot {
    /// The process that serves the connection, 0 when the slot is free.
    owner: AtomicI32,
    /// The descriptor plus one, 0 when there is none; see [`SOCKET_HELD`].
    socket: AtomicI32,
    /// One of the four below, and above its bits the number of the call: whoever finds a call too
    /// late must not answer the next one in its place.
    phase: AtomicU32,
    /// How long the call may take, in milliseconds, and when that time is up, as
    /// [`now`](crate::stop::deadline_timer::now) counts; 0 when it has no deadline.
    limit_ms: AtomicU32,
    deadline: AtomicU64,
    /// Replies that are finished but not yet written, for the last words to send first.
    /// The address means something in the owner's process only.
    waiting_start: AtomicUsize,
    waiting_len: AtomicUsize,
    pub(crate) calls: Calls,
}

/// Set in `Slot::socket` while somebody else than the owner uses the descriptor. The owner waits
/// for it before it closes the descriptor, so nobody ever touches a number that was used again.
const SOCKET_HELD: i32 = 1 << 30;

/// Between two calls, or receiving a request.
const IDLE: u32 = 0;
/// The handler runs; nobody has answered.
const HANDLING: u32 = 1;
/// The handler's result is the answer.
const ANSWERING: u32 = 2;
/// Somebody else has answered; the handler's result must be thrown away.
const TAKEN: u32 = 3;

/// The bits of `Slot::phase` that hold the phase.
const PHASE: u32 = 3;
const ONE_CALL: u32 = 4;

/// How much of what a caller still sends is read before its process ends, in bytes.
const DRAIN_LEN: usize = 64 * 1024;

/// How often somebody who cannot wait looks again for a slot that another thread holds.
const MAX_LOOKS: usize = 1000;

impl Slot {
    /// Publishes that a handler is about to run, and which replies must go out before its own.
    #[inline]
    pub(crate) fn begin_handling(&self, waiting: &[u8]) {
        self.waiting_start.store(waiting.as_ptr() as usize, Ordering::Relaxed);
        self.waiting_len.store(waiting.len(), Ordering::Relaxed);
        self.deadline.store(0, Ordering::Relaxed);
        let call = (self.calls.begin() as u32).wrapping_mul(ONE_CALL);
        self.phase.store(call | HANDLING, Ordering::Release);
    }

    /// Publishes when the time of the call that is being handled is up. Whoever does so must then
    /// arm the alarm; [`arm`](crate::stop::deadline_timer::arm) says why that is never missed.
    pub(crate) fn set_deadline(&self, deadline: u64, limit_ms: u32) {
        self.limit_ms.store(limit_ms, Ordering::Relaxed);
        self.deadline.store(deadline, Ordering::Release);
    }

    /// Claims the right to answer for the handler. `false`: somebody else has answered.
    #[inline]
    pub(crate) fn finish_handling(&self) -> bool {
        let phase = self.phase.load(Ordering::Acquire);
        if phase & PHASE != HANDLING {
            return phase & PHASE == ANSWERING;
        }
        let answering = phase & !PHASE | ANSWERING;
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        self.phase.compare_exchange(phase, answering, success, failure).is_ok()
    }

    /// Whether somebody else has answered in the handler's place.
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.phase.load(Ordering::Acquire) & PHASE == TAKEN
    }

    /// Publishes that the connection stands between two calls.
    #[inline]
    pub(crate) fn become_idle(&self) {
        let call = self.phase.load(Ordering::Relaxed) & !PHASE;
        self.phase.store(call | IDLE, Ordering::Release);
    }

    /// Who serves the connection, 0 if there is none, and where in a call it stands.
    pub(crate) fn look(&self) -> (i32, Activity) {
        let owner = self.owner.load(Ordering::Acquire);
        let activity = match self.phase.load(Ordering::Acquire) & PHASE {
            HANDLING => Activity::Handling,
            TAKEN => Activity::Lost,
            _ => Activity::Other,
        };
        (owner, activity)
    }

    pub(crate) fn set_owner(&self, pid: i32) {
        self.owner.store(pid, Ordering::SeqCst);
    }

    pub(crate) fn set_socket(&self, socket: RawFd) {
        self.socket.store(socket + 1, Ordering::SeqCst);
    }

    /// Waits until nobody else uses the descriptor and makes it unknown. It may then be closed.
    fn forget_socket(&self) {
        loop {
            self.wait_while_held();
            let socket = self.socket.load(Ordering::SeqCst) & !SOCKET_HELD;
            let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
            if self.socket.compare_exchange(socket, 0, success, failure).is_ok() {
                return;
            }
        }
    }

    /// Runs `action` on the descriptor, unless there is none, somebody else is at it, or the slot
    /// no longer belongs to this process. Async-signal-safe if `action` is.
    fn with_socket<Outcome>(&self, action: impl FnOnce(RawFd) -> Outcome) -> Option<Outcome> {
        let socket = self.socket.load(Ordering::SeqCst);
        if socket == 0 || socket & SOCKET_HELD != 0 {
            return None;
        }
        let held = socket | SOCKET_HELD;
        let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
        if self.socket.compare_exchange(socket, held, success, failure).is_err() {
            return None;
        }
        // The slot may have been given back and taken by another process, with an equal number,
        // since the caller looked. Now that it is held it cannot be given back.
        let is_ours = self.owner.load(Ordering::SeqCst) == own_pid();
        let outcome = is_ours.then(|| action(socket - 1));
        self.socket.store(socket, Ordering::SeqCst);
        outcome
    }

    /// Ends the reading side of the connection. Async-signal-safe.
    fn stop_reading(&self) {
        for _ in 0..MAX_LOOKS {
            let ended = self.with_socket(|fd| {
                // SAFETY: shutdown(2) takes no pointer. `fd` is this slot's connection in this
                // process, which does not close it while SOCKET_HELD is set.
                unsafe { libc::shutdown(fd, libc::SHUT_RD) };
            });
            let is_ours = self.owner.load(Ordering::SeqCst) == own_pid();
            if ended.is_some() || !is_ours || self.socket.load(Ordering::SeqCst) == 0 {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// The phase with the number of its call, if a handler runs.
    fn handling(&self) -> Option<u32> {
        let phase = self.phase.load(Ordering::SeqCst);
        (phase & PHASE == HANDLING).then_some(phase)
    }

    /// Answers in place of the handler that runs, whichever call that is. Async-signal-safe.
    fn answer_any(&self, frame: &[u8], end: End) {
        for _ in 0..MAX_LOOKS {
            match self.handling() {
                Some(phase) if !self.answer_instead(phase, frame, end) => std::thread::yield_now(),
                _ => return,
            }
        }
    }

    /// Answers the call whose deadline is before `now`, and says what is to be done about it.
    /// Async-signal-safe.
    fn answer_late(&self, now: u64) -> Lateness {
        // In this order: whoever reads the number of a call does not read the deadline of the one
        // before, and if the number is the same when it is exchanged, not of the one after.
        let Some(phase) = self.handling() else {
            return Lateness::NotLate(0);
        };
        let deadline = self.deadline.load(Ordering::SeqCst);
        if deadline == 0 || deadline > now {
            return Lateness::NotLate(deadline);
        }
        let frame = DeadlineFrame::new(self.limit_ms.load(Ordering::Relaxed));
        match self.answer_instead(phase, frame.as_bytes(), End::Now) {
            true => Lateness::Answered,
            false => Lateness::LookAgain,
        }
    }

    /// Answers in the handler's place, if it has not answered the call whose phase was read as
    /// `phase`. Async-signal-safe.
    fn answer_instead(&self, phase: u32, frame: &[u8], end: End) -> bool {
        self.with_socket(|fd| {
            let taken = phase & !PHASE | TAKEN;
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            if self.phase.compare_exchange(phase, taken, success, failure).is_err() {
                return false;
            }
            let start = self.waiting_start.load(Ordering::Relaxed) as *const u8;
            let len = self.waiting_len.load(Ordering::Relaxed);
            // SAFETY: the owner is this process, so the address is valid here. It was published
            // with the phase HANDLING; while the phase is that, the owner leaves those bytes
            // alone, and when it finds the phase TAKEN it waits for SOCKET_HELD to go before it
            // touches them (`wait_while_held`).
            let waiting = unsafe { std::slice::from_raw_parts(start, len) };
            if send_now(fd, waiting) {
                send_now(fd, frame);
            }
            if end == End::Now {
                // SAFETY: as in `stop_reading`.
                unsafe { libc::shutdown(fd, libc::SHUT_WR) };
            }
            drain_now(fd);
            true
        })
        .unwrap_or(false)
    }

    /// Waits until nobody else uses the descriptor, or the replies that were published with it.
    pub(crate) fn wait_while_held(&self) {
        while self.socket.load(Ordering::SeqCst) & SOCKET_HELD != 0 {
            std::thread::yield_now();
        }
    }
}

/// Where in a call a slot stands, for those who only look.
pub(crate) enum Activity {
    Handling,
    /// The handler runs, and somebody else has answered.
    Lost,
    Other,
}

/// When the peer is to see the end of the connection, behind an answer in the handler's place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Now,
    /// When the process is gone, so that whoever sees it knows that.
    WithProcess,
}

/// What came of looking at a call's deadline.
enum Lateness {
    /// There is time until this deadline, or for ever if it is 0.
    NotLate(u64),
    Answered,
    /// It may be late still, but somebody is at its descriptor, or it has just changed.
    LookAgain,
}

/// What came of looking at the deadlines of a process.
pub(crate) struct Watched {
    /// The nearest deadline that is left.
    pub(crate) next: Option<u64>,
    pub(crate) has_answered: bool,
}

/// Sends all of `bytes` without waiting, or gives up. Async-signal-safe.
fn send_now(fd: RawFd, bytes: &[u8]) -> bool {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the pointer and the length are those of one live slice.
    let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(sent) == Ok(bytes.len())
}

/// Throws away what has come without waiting for more: closing while unread bytes wait would
/// reset the connection, and a reset can destroy the answer. In small pieces, since the stack may
/// be one for signals. Async-signal-safe.
fn drain_now(fd: RawFd) {
    let mut sink = [0_u8; 512];
    for _ in 0..DRAIN_LEN / sink.len() {
        // SAFETY: the pointer and the length are those of one live, writable array.
        let count =
            unsafe { libc::recv(fd, sink.as_mut_ptr().cast(), sink.len(), libc::MSG_DONTWAIT) };
        if count <= 0 {
            return;
        }
    }
}

/// The table of slots. Made before any fork; every process of the server then sees the same one.
#[derive(Debug)]
pub(crate) struct Scoreboard {
    table: NonNull<Table>,
    /// The process that made it, and when.
    pub(crate) creator: i32,
    pub(crate) born: Instant,
    pub(crate) membership: Membership,
}

// SAFETY: the table is reached through shared references only and consists of atomics.
unsafe impl Send for Scoreboard {}
// SAFETY: as above.
unsafe impl Sync for Scoreboard {}

impl Scoreboard {
    pub(crate) fn new() -> io::Result<Scoreboard> {
        let len = NonZeroUsize::new(size_of::<Table>()).expect("a table has slots");
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping, placed by the kernel, overlaps nothing.
        let address = unsafe { mmap_anonymous(None, len, protection, flags) }?;
        let (creator, born) = (own_pid(), Instant::now());
        let membership = Membership::default();
        Ok(Scoreboard { table: address.cast(), creator, born, membership })
    }

    fn table(&self) -> &Table {
        // SAFETY: the mapping is page-aligned, as long as a Table, and lives until drop. It is
        // all zeroes at first, which is a valid value of every field; all are atomics.
        unsafe { self.table.as_ref() }
    }

    pub(crate) fn tallies(&self) -> &Tallies {
        &self.table().tallies
    }

    pub(crate) fn workers(&self) -> &Workers {
        &self.table().workers
    }

    /// Those that were ever used; the others are free.
    pub(crate) fn used_slots(&self) -> &[Slot] {
        let table = self.table();
        &table.slots[..table.used.load(Ordering::SeqCst).min(MAX_CONNECTIONS)]
    }

    /// Takes a free slot for the process `owner`; `None` when all are taken.
    pub(crate) fn claim(&self, owner: i32) -> Option<usize> {
        let table = self.table();
        let start = table.hint.load(Ordering::Relaxed);
        let index = (0..MAX_CONNECTIONS)
            .map(|step| (start + step) % MAX_CONNECTIONS)
            .find(|&index| table.claim(index, owner))?;
        table.hint.store(index + 1, Ordering::Relaxed);
        Some(index)
    }

    #[inline]
    pub(crate) fn slot(&self, index: usize) -> &Slot {
        &self.table().slots[index]
    }

    /// Gives a slot back, unless it was left to another process. The descriptor may be closed then.
    pub(crate) fn release(&self, index: usize) {
        let slot = self.slot(index);
        if slot.owner.load(Ordering::SeqCst) == own_pid() {
            slot.forget_socket();
            slot.become_idle();
            self.add_calls_of_worker(slot.calls.end_connection());
            slot.set_owner(0);
            self.table().hint.fetch_min(index, Ordering::Relaxed);
        }
    }

    /// Ends the reading side of every connection that `owner`, this process, serves.
    /// Async-signal-safe.
    pub(crate) fn stop_reading(&self, owner: i32) {
        for slot in self.slots_of(owner) {
            slot.stop_reading();
        }
    }

    /// Sends `frame` to every caller whose handler runs in `owner`, this process.
    /// Async-signal-safe.
    pub(crate) fn answer_instead(&self, owner: i32, frame: &[u8], end: End) {
        for slot in self.slots_of(owner) {
            slot.answer_any(frame, end);
        }
    }

    /// Answers the calls of `owner`, this process, whose time is up. Async-signal-safe.
    pub(crate) fn answer_late(&self, owner: i32, now: u64) -> Watched {
        const SOON_NS: u64 = 1_000_000;
        let mut watched = Watched { next: None, has_answered: false };
        for slot in self.slots_of(owner) {
            let next = match slot.answer_late(now) {
                Lateness::NotLate(0) => continue,
                Lateness::NotLate(deadline) => deadline,
                Lateness::Answered => {
                    watched.has_answered = true;
                    continue;
                }
                Lateness::LookAgain => now + SOON_NS,
            };
            watched.next = Some(watched.next.map_or(next, |nearest| nearest.min(next)));
        }
        watched
    }

    /// Frees the slots of a process that has died, and its entry if it was a worker.
    pub(crate) fn release_all_of(&self, owner: i32) {
        self.workers().forget(owner);
        for slot in self.slots_of(owner) {
            slot.calls.end_connection();
            slot.phase.store(IDLE, Ordering::SeqCst);
            slot.socket.store(0, Ordering::SeqCst);
            slot.set_owner(0);
        }
    }

    /// Whether the process `owner` serves a connection.
    pub(crate) fn has_slot_of(&self, owner: i32) -> bool {
        self.slots_of(owner).next().is_some()
    }

    fn slots_of(&self, owner: i32) -> impl Iterator<Item = &Slot> {
        self.used_slots().iter().filter(move |slot| slot.owner.load(Ordering::SeqCst) == owner)
    }
}

impl Drop for Scoreboard {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length, and nobody borrows from it.
        let _ = unsafe { munmap(self.table.cast(), size_of::<Table>()) };
    }
}

/// getpid(2), each time anew: a fork changes the answer. Async-signal-safe.
pub(crate) fn own_pid() -> i32 {
    // SAFETY: getpid(2) takes nothing and cannot fail.
    unsafe { libc::getpid() }
}

#[cfg(test)]
mod tests;
