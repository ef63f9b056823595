//! The scoreboard: one slot a connection, in memory that every process of the server shares.
//!
//! A slot says which process serves a connection, through which descriptor, and where in a call
//! it stands. It is what makes a stop instant and an answer unique:
//!
//! - **Stop.** Whoever learns that it is time to stop walks the slots of its own process and calls
//!   `shutdown(fd, SHUT_RD)` on each. A blocked read returns at once; what was received before is
//!   still read and answered.
//! - **Last words.** A process that must end while handlers run answers in their place. One
//!   compare-and-swap on the phase decides whether the handler or the last words answer.
//! - **Stats.** Whoever is asked reads all slots, and counts and shows what it finds (`stats.rs`).
//!
//! Only atomics, no locks that outlive a process, and no pointer that another process follows, so
//! a process that dies at any instruction leaves the table usable.
#![allow(unsafe_code)]

use std::io;
use std::num::NonZeroUsize;
use std::ops::Deref;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicUsize, Ordering};
use std::time::Instant;

use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::calls::Calls;
use crate::tallies::Tallies;
use crate::workers::{Membership, Workers};

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
    phase: AtomicU32,
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

impl Slot {
    /// Publishes that a handler is about to run, and which replies must go out before its own.
    #[inline]
    pub(crate) fn begin_handling(&self, waiting: &[u8]) {
        self.waiting_start.store(waiting.as_ptr() as usize, Ordering::Relaxed);
        self.waiting_len.store(waiting.len(), Ordering::Relaxed);
        self.calls.begin();
        self.phase.store(HANDLING, Ordering::Release);
    }

    /// Claims the right to answer for the handler. `false`: somebody else has answered.
    #[inline]
    pub(crate) fn finish_handling(&self) -> bool {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        match self.phase.compare_exchange(HANDLING, ANSWERING, success, failure) {
            Ok(_) => true,
            Err(phase) => phase == ANSWERING,
        }
    }

    /// Whether somebody else has answered in the handler's place.
    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.phase.load(Ordering::Acquire) == TAKEN
    }

    /// Publishes that the connection stands between two calls.
    #[inline]
    pub(crate) fn become_idle(&self) {
        self.phase.store(IDLE, Ordering::Release);
    }

    /// Who serves the connection, 0 if there is none, and where in a call it stands.
    pub(crate) fn look(&self) -> (i32, Activity) {
        let owner = self.owner.load(Ordering::Acquire);
        let activity = match self.phase.load(Ordering::Acquire) {
            HANDLING => Activity::Handling,
            TAKEN => Activity::Lost,
            _ => Activity::Other,
        };
        (owner, activity)
    }

    pub(crate) fn set_owner(&self, pid: i32) {
        self.owner.store(pid, Ordering::SeqCst);
    }

    fn set_socket(&self, socket: RawFd) {
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
    fn with_socket(&self, action: impl FnOnce(RawFd)) {
        let socket = self.socket.load(Ordering::SeqCst);
        if socket == 0 || socket & SOCKET_HELD != 0 {
            return;
        }
        let held = socket | SOCKET_HELD;
        let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
        if self.socket.compare_exchange(socket, held, success, failure).is_err() {
            return;
        }
        // The slot may have been given back and taken by another process, with an equal number,
        // since the caller looked. Now that it is held it cannot be given back.
        if self.owner.load(Ordering::SeqCst) == own_pid() {
            action(socket - 1);
        }
        self.socket.store(socket, Ordering::SeqCst);
    }

    /// Ends the reading side of the connection. Async-signal-safe.
    fn stop_reading(&self) {
        self.with_socket(|fd| {
            // SAFETY: shutdown(2) takes no pointer. `fd` is this slot's connection in this
            // process, which does not close it while SOCKET_HELD is set.
            unsafe { libc::shutdown(fd, libc::SHUT_RD) };
        });
    }

    /// Answers in the handler's place, if it has not answered, and ends the connection.
    /// Async-signal-safe.
    fn answer_instead(&self, frame: &[u8]) {
        self.with_socket(|fd| {
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            if self.phase.compare_exchange(HANDLING, TAKEN, success, failure).is_err() {
                return;
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
            // SAFETY: as in `stop_reading`.
            unsafe { libc::shutdown(fd, libc::SHUT_WR) };
        });
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

/// Sends all of `bytes` without waiting, or gives up. Async-signal-safe.
fn send_now(fd: RawFd, bytes: &[u8]) -> bool {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the pointer and the length are those of one live slice.
    let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(sent) == Ok(bytes.len())
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
    fn claim(&self, owner: i32) -> Option<usize> {
        let table = self.table();
        let start = table.hint.load(Ordering::Relaxed);
        let index = (0..MAX_CONNECTIONS)
            .map(|step| (start + step) % MAX_CONNECTIONS)
            .find(|&index| table.claim(index, owner))?;
        table.hint.store(index + 1, Ordering::Relaxed);
        Some(index)
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
    pub(crate) fn answer_instead(&self, owner: i32, frame: &[u8]) {
        for slot in self.slots_of(owner) {
            slot.answer_instead(frame);
        }
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

/// A slot that is held for a connection and given back on drop, if it still belongs to this
/// process.
pub(crate) struct HeldSlot {
    scoreboard: Arc<Scoreboard>,
    index: usize,
}

impl HeldSlot {
    /// `None` when all slots are taken.
    pub(crate) fn claim(scoreboard: Arc<Scoreboard>, socket: RawFd) -> Option<HeldSlot> {
        let index = scoreboard.claim(own_pid())?;
        let held = HeldSlot { scoreboard, index };
        held.set_socket(socket);
        Some(held)
    }
}

impl Deref for HeldSlot {
    type Target = Slot;

    #[inline]
    fn deref(&self) -> &Slot {
        &self.scoreboard.table().slots[self.index]
    }
}

impl Drop for HeldSlot {
    fn drop(&mut self) {
        if self.owner.load(Ordering::SeqCst) == own_pid() {
            self.forget_socket();
            self.become_idle();
            self.scoreboard.add_calls_of_worker(self.calls.end_connection());
            self.set_owner(0);
            self.scoreboard.table().hint.fetch_min(self.index, Ordering::Relaxed);
        }
    }
}

/// getpid(2), each time anew: a fork changes the answer. Async-signal-safe.
pub(crate) fn own_pid() -> i32 {
    // SAFETY: getpid(2) takes nothing and cannot fail.
    unsafe { libc::getpid() }
}
