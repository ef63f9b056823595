//! One slot: which process serves a connection, through which descriptor, and which phase of a call
//! it is in.
//!
//! One compare-and-swap on the phase decides who answers: the handler, or another thread or a
//! signal handler in its place.
#![allow(unsafe_code)]

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use nix::libc;

use crate::scoreboard::calls::Calls;
use crate::scoreboard::deadline_frame::DeadlineFrame;
use crate::sys::clock::NEVER;
use crate::sys::pid::own_pid;

/// The state of one connection. Aligned to cache lines, so that neighbours do not slow it down.
#[repr(C, align(64))]
pub(crate) struct Slot {
    /// The process that serves the connection, 0 when the slot is free.
    owner: AtomicI32,
    /// The descriptor plus one, 0 when there is none; see [`SOCKET_HELD`].
    socket: AtomicI32,
    /// One of the four phases below, and in the higher bits the number of the call, so that an
    /// answer to a call that is late cannot go to the next one.
    phase: AtomicU32,
    /// How long the call may take, in milliseconds.
    limit_ms: AtomicU32,
    /// The deadline of the call, as [`now`](crate::sys::clock::now) counts; [`NEVER`] without one.
    deadline: AtomicU64,
    /// Replies that are finished but not yet written. An answer in the handler's place sends them
    /// first. The address is valid in the owner's process only.
    waiting_start: AtomicUsize,
    waiting_len: AtomicUsize,
    pub(crate) calls: Calls,
}

/// Set in `Slot::socket` while another thread or a signal handler uses the descriptor. The owner
/// waits until it is cleared before it closes the descriptor, so no one uses a descriptor number
/// that was reused meanwhile.
const SOCKET_HELD: i32 = 1 << 30;

/// Between two calls, or receiving a request.
const IDLE: u32 = 0;
/// The handler runs, and the call is not answered.
const HANDLING: u32 = 1;
/// The handler's result is the answer.
const ANSWERING: u32 = 2;
/// The call was answered in the handler's place; the handler's result must be thrown away.
const TAKEN_OVER: u32 = 3;

/// The bits of `Slot::phase` that hold the phase.
const PHASE_MASK: u32 = 3;
const ONE_CALL: u32 = 4;

/// How much of what a caller still sends is read after an answer in the handler's place, in bytes.
const DRAIN_LEN: usize = 64 * 1024;

/// How often a stop or an answer, which may run in a signal handler, tries again while another
/// thread uses the descriptor.
const MAX_TRIES: usize = 1000;

/// What the connection of a slot does, as a snapshot shows it.
pub(crate) enum Activity {
    Handling,
    /// The handler runs, but the call was answered in its place.
    Lost,
    Other,
}

/// When the peer sees the end of the stream after an answer in the handler's place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum EndOfStream {
    Now,
    /// When the process is gone, so that the end of the stream tells the peer that.
    AtExit,
}

/// The outcome of a check of deadlines.
pub(crate) struct DeadlineCheck {
    /// The nearest deadline that is left, [`NEVER`] without one.
    pub(crate) next: u64,
    /// Whether a call was answered in its handler's place.
    pub(crate) has_answered: bool,
}

impl DeadlineCheck {
    pub(crate) const NOTHING: DeadlineCheck = DeadlineCheck { next: NEVER, has_answered: false };
}

impl Slot {
    /// Whether a process has the slot.
    pub(crate) fn is_taken(&self) -> bool {
        self.owner.load(Ordering::Relaxed) != 0
    }

    /// Takes the slot for the process `owner`, if it is free.
    pub(crate) fn claim(&self, owner: i32) -> bool {
        let (success, failure) = (Ordering::SeqCst, Ordering::Relaxed);
        self.owner.compare_exchange(0, owner, success, failure).is_ok()
    }

    /// The process that serves the connection, 0 if there is none.
    pub(crate) fn owner(&self) -> i32 {
        self.owner.load(Ordering::SeqCst)
    }

    pub(crate) fn set_owner(&self, pid: i32) {
        self.owner.store(pid, Ordering::SeqCst);
    }

    pub(crate) fn set_socket(&self, socket: RawFd) {
        self.socket.store(socket + 1, Ordering::SeqCst);
    }

    /// Waits until no other thread uses the descriptor, and removes it from the slot. It may then
    /// be closed.
    pub(crate) fn forget_socket(&self) {
        loop {
            self.wait_while_held();
            let socket = self.socket.load(Ordering::SeqCst) & !SOCKET_HELD;
            let (success, failure) = (Ordering::SeqCst, Ordering::SeqCst);
            if self.socket.compare_exchange(socket, 0, success, failure).is_ok() {
                return;
            }
        }
    }

    /// Frees the slot of a process that has died.
    pub(crate) fn clear(&self) {
        self.calls.end_connection();
        self.phase.store(IDLE, Ordering::SeqCst);
        self.socket.store(0, Ordering::SeqCst);
        self.set_owner(0);
    }

    /// The process that serves the connection, 0 if there is none, and what the connection does.
    pub(crate) fn snapshot(&self) -> (i32, Activity) {
        let owner = self.owner.load(Ordering::Acquire);
        let activity = match self.phase.load(Ordering::Acquire) & PHASE_MASK {
            HANDLING => Activity::Handling,
            TAKEN_OVER => Activity::Lost,
            _ => Activity::Other,
        };
        (owner, activity)
    }

    /// Publishes that a handler is about to run, and which replies must be sent before its own.
    #[inline]
    pub(crate) fn begin_handling(&self, waiting: &[u8]) {
        self.waiting_start.store(waiting.as_ptr() as usize, Ordering::Relaxed);
        self.waiting_len.store(waiting.len(), Ordering::Relaxed);
        self.deadline.store(NEVER, Ordering::Relaxed);
        let call = (self.calls.begin() as u32).wrapping_mul(ONE_CALL);
        self.phase.store(call | HANDLING, Ordering::Release);
    }

    /// Publishes the deadline of the call that is being handled. The caller must then arm the
    /// timer; `arm` in `stop/deadline_timer.rs` says why no deadline is missed.
    pub(crate) fn set_deadline(&self, deadline: u64, limit_ms: u32) {
        self.limit_ms.store(limit_ms, Ordering::Relaxed);
        self.deadline.store(deadline, Ordering::Release);
    }

    /// Claims the right to answer for the handler. `false` if the call was answered in its place.
    #[inline]
    pub(crate) fn finish_handling(&self) -> bool {
        let phase = self.phase.load(Ordering::Acquire);
        if phase & PHASE_MASK != HANDLING {
            return phase & PHASE_MASK == ANSWERING;
        }
        let answering = phase & !PHASE_MASK | ANSWERING;
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        self.phase.compare_exchange(phase, answering, success, failure).is_ok()
    }

    /// Whether the call was answered in the handler's place.
    #[inline]
    pub(crate) fn is_taken_over(&self) -> bool {
        self.phase.load(Ordering::Acquire) & PHASE_MASK == TAKEN_OVER
    }

    /// Publishes that the connection is between two calls.
    #[inline]
    pub(crate) fn become_idle(&self) {
        let call = self.phase.load(Ordering::Relaxed) & !PHASE_MASK;
        self.phase.store(call | IDLE, Ordering::Release);
    }

    /// Waits until no other thread uses the descriptor or the published replies.
    pub(crate) fn wait_while_held(&self) {
        while self.socket.load(Ordering::SeqCst) & SOCKET_HELD != 0 {
            std::thread::yield_now();
        }
    }

    /// Ends the reading side of the connection. Async-signal-safe.
    pub(crate) fn stop_reading(&self) {
        for _ in 0..MAX_TRIES {
            let ended = self.with_socket(|fd| {
                // SAFETY: shutdown(2) takes no pointer. `fd` is this slot's connection in this
                // process, which does not close it while SOCKET_HELD is set.
                unsafe { libc::shutdown(fd, libc::SHUT_RD) };
            });
            let is_ours = self.owner() == own_pid();
            if ended.is_some() || !is_ours || self.socket.load(Ordering::SeqCst) == 0 {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Answers the running call, if there is one, in its handler's place. Async-signal-safe.
    pub(crate) fn answer_running(&self, frame: &[u8], end: EndOfStream) {
        for _ in 0..MAX_TRIES {
            match self.handling() {
                Some(phase) if !self.answer_call(phase, frame, end) => std::thread::yield_now(),
                _ => return,
            }
        }
    }

    /// Answers the running call in its handler's place if its deadline is not after `now`, and
    /// returns when to check again. Async-signal-safe.
    pub(crate) fn answer_expired(&self, now: u64) -> DeadlineCheck {
        const SOON_NS: u64 = 1_000_000;
        // In this order: after the number of a call was read, the deadline cannot be that of the
        // call before; and if the number is unchanged at the exchange, not that of the call after.
        let Some(phase) = self.handling() else {
            return DeadlineCheck::NOTHING;
        };
        let deadline = self.deadline.load(Ordering::SeqCst);
        if deadline > now {
            return DeadlineCheck { next: deadline, has_answered: false };
        }
        let frame = DeadlineFrame::new(self.limit_ms.load(Ordering::Relaxed));
        match self.answer_call(phase, frame.as_bytes(), EndOfStream::Now) {
            true => DeadlineCheck { next: NEVER, has_answered: true },
            // Another thread uses the descriptor, or the call has just changed: check again soon.
            false => DeadlineCheck { next: now + SOON_NS, has_answered: false },
        }
    }

    /// The phase, with the number of the call, if a handler runs.
    fn handling(&self) -> Option<u32> {
        let phase = self.phase.load(Ordering::SeqCst);
        (phase & PHASE_MASK == HANDLING).then_some(phase)
    }

    /// Answers in the handler's place. `false` if the phase is no longer `phase`, so that call has
    /// been answered, or if the descriptor cannot be used. Async-signal-safe.
    fn answer_call(&self, phase: u32, frame: &[u8], end: EndOfStream) -> bool {
        self.with_socket(|fd| {
            let taken_over = phase & !PHASE_MASK | TAKEN_OVER;
            let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
            if self.phase.compare_exchange(phase, taken_over, success, failure).is_err() {
                return false;
            }
            let start = self.waiting_start.load(Ordering::Relaxed) as *const u8;
            let len = self.waiting_len.load(Ordering::Relaxed);
            // SAFETY: the owner is this process, so the address is valid here. It was published
            // with the phase HANDLING, in which the owner does not touch those bytes. When it finds
            // the phase TAKEN_OVER, it waits until SOCKET_HELD is cleared before it touches them
            // (`wait_while_held`).
            let waiting = unsafe { std::slice::from_raw_parts(start, len) };
            if send_now(fd, waiting) {
                send_now(fd, frame);
            }
            if end == EndOfStream::Now {
                // SAFETY: as in `stop_reading`.
                unsafe { libc::shutdown(fd, libc::SHUT_WR) };
            }
            drain_now(fd);
            true
        })
        .unwrap_or(false)
    }

    /// Runs `action` on the descriptor, unless there is none, another thread uses it, or the slot
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
        // Since the caller looked, the slot may have been freed and taken by another process with
        // the same descriptor number. While the descriptor is held, the slot cannot be freed.
        let is_ours = self.owner() == own_pid();
        let outcome = is_ours.then(|| action(socket - 1));
        self.socket.store(socket, Ordering::SeqCst);
        outcome
    }
}

/// Sends `bytes` without blocking; `false` if not all of them were sent. Async-signal-safe.
fn send_now(fd: RawFd, bytes: &[u8]) -> bool {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the pointer and the length are those of one live slice.
    let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
    usize::try_from(sent) == Ok(bytes.len())
}

/// Throws away received bytes without blocking: closing a connection with unread bytes would reset
/// it, and a reset can destroy the answer. Reads small pieces, since a signal stack may be small.
/// Async-signal-safe.
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

/// One slot and one peer without a server: who answers, and which call.
#[cfg(test)]
mod tests {
    use std::io::{self, Read};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use crate::scoreboard::guard::{SlotGuard, SlotOwner};
    use crate::scoreboard::table::Scoreboard;

    use super::*;

    impl SlotOwner for Scoreboard {
        fn scoreboard(&self) -> &Scoreboard {
            self
        }
    }

    const LATE: u64 = 100;

    fn slot_and_peer() -> (SlotGuard<Scoreboard>, UnixStream, UnixStream) {
        let (socket, peer) = UnixStream::pair().unwrap();
        peer.set_nonblocking(true).unwrap();
        let scoreboard = Arc::new(Scoreboard::new().unwrap());
        (SlotGuard::claim(&scoreboard, socket.as_raw_fd()).unwrap(), socket, peer)
    }

    #[test]
    fn a_late_call_is_answered_once_and_after_pending_replies() {
        let (slot, _socket, mut peer) = slot_and_peer();
        slot.begin_handling(b"pending");
        slot.set_deadline(LATE, 7);
        let check = slot.shared.answer_expired(LATE - 1);
        assert_eq!((check.next, check.has_answered), (LATE, false));
        assert!(slot.shared.answer_expired(LATE).has_answered);
        assert!(!slot.shared.answer_expired(LATE).has_answered);
        slot.answer_running(b"too late", EndOfStream::Now);
        assert!(slot.is_taken_over() && !slot.finish_handling());
        let mut received = Vec::new();
        peer.read_to_end(&mut received).unwrap();
        assert_eq!(received, [b"pending", DeadlineFrame::new(7).as_bytes()].concat());
    }

    /// A call is found to be late, but it ends before it is answered in its handler's place.
    #[test]
    fn the_answer_to_a_late_call_never_goes_to_the_next_one() {
        let (slot, _socket, mut peer) = slot_and_peer();
        slot.begin_handling(b"");
        slot.set_deadline(LATE, 7);
        let late = slot.handling().unwrap();
        assert!(slot.finish_handling());
        assert!(!slot.answer_call(late, b"?", EndOfStream::Now), "it has been answered");
        for _ in 0..3 {
            slot.become_idle();
            assert!(!slot.answer_call(late, b"?", EndOfStream::Now), "nothing to answer");
            slot.begin_handling(b"");
            assert!(!slot.answer_call(late, b"?", EndOfStream::Now), "another call");
            let check = slot.shared.answer_expired(LATE);
            assert_eq!((check.next, check.has_answered), (NEVER, false), "without a deadline");
            assert!(slot.finish_handling());
        }
        let nothing = peer.read(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_call_whose_descriptor_is_in_use_is_checked_again() {
        let (slot, _socket, _peer) = slot_and_peer();
        slot.begin_handling(b"");
        slot.set_deadline(LATE, 7);
        slot.with_socket(|_| {
            let check = slot.shared.answer_expired(LATE);
            assert!(!check.has_answered && check.next > LATE && check.next != NEVER);
        });
        assert!(slot.shared.answer_expired(LATE).has_answered);
    }
}
