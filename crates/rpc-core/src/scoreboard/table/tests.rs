//! One slot, one peer, and no server: who answers, and which call.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::*;
use crate::scoreboard::guard::HeldSlot;
use crate::stop::control::Control;

const LATE: u64 = 100;

fn slot_and_peer() -> (HeldSlot, UnixStream, UnixStream) {
    let (socket, peer) = UnixStream::pair().unwrap();
    peer.set_nonblocking(true).unwrap();
    let control = Control::new(Duration::ZERO).unwrap();
    (HeldSlot::claim(&control, socket.as_raw_fd()).unwrap(), socket, peer)
}

#[test]
fn a_late_call_is_answered_once_and_behind_what_waits() {
    let (slot, _socket, mut peer) = slot_and_peer();
    slot.begin_handling(b"what waits");
    slot.set_deadline(LATE, 7);
    let watched = slot.control.scoreboard.answer_late(own_pid(), LATE - 1);
    assert_eq!((watched.next, watched.has_answered), (Some(LATE), false));
    assert!(slot.control.scoreboard.answer_late(own_pid(), LATE).has_answered);
    assert!(!slot.control.scoreboard.answer_late(own_pid(), LATE).has_answered);
    slot.answer_any(b"last words", End::Now);
    assert!(slot.is_taken() && !slot.finish_handling());
    let mut told = Vec::new();
    peer.read_to_end(&mut told).unwrap();
    assert_eq!(told, [b"what waits", DeadlineFrame::new(7).as_bytes()].concat());
}

/// Somebody finds a call too late, and by the time that they answer it is over.
#[test]
fn nobody_answers_the_next_call_in_place_of_the_last() {
    let (slot, _socket, mut peer) = slot_and_peer();
    slot.begin_handling(b"");
    slot.set_deadline(LATE, 7);
    let late = slot.handling().unwrap();
    assert!(slot.finish_handling());
    assert!(!slot.answer_instead(late, b"?", End::Now), "it has been answered");
    for _ in 0..3 {
        slot.become_idle();
        assert!(!slot.answer_instead(late, b"?", End::Now), "nothing to answer");
        slot.begin_handling(b"");
        assert!(!slot.answer_instead(late, b"?", End::Now), "another call");
        let watched = slot.control.scoreboard.answer_late(own_pid(), LATE);
        assert_eq!((watched.next, watched.has_answered), (None, false), "without a deadline");
        assert!(slot.finish_handling());
    }
    let nothing = peer.read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_call_whose_descriptor_is_in_use_is_looked_at_again() {
    let (slot, _socket, _peer) = slot_and_peer();
    slot.begin_handling(b"");
    slot.set_deadline(LATE, 7);
    slot.with_socket(|_| {
        let watched = slot.control.scoreboard.answer_late(own_pid(), LATE);
        assert!(!watched.has_answered && watched.next > Some(LATE));
    });
    assert!(slot.control.scoreboard.answer_late(own_pid(), LATE).has_answered);
}
