//! The alarm: every process that serves watches itself with one one-shot timer, setitimer(2).
//!
//! It is set for whatever comes first: the nearest deadline of a call, or the end of the grace
//! after a stop. SIGALRM's handler walks the slots of its own process, answers whoever is late,
//! and sets the timer for what is left, or not at all. So nothing ticks, and nobody is needed who
//! watches from outside: it works alike in all models.
//!
//! A stream of calls with equal time-outs sets the timer once in such a time, because a later
//! deadline finds it set for an earlier one.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use crate::stop::control::Control;
use crate::stop::registered::InHandler;
use crate::stop::status_pipe::REPLACE;
use crate::sys::clock::{NEVER, now};
use crate::sys::exit::{EXIT_DEADLINE, EXIT_GRACE_EXPIRED, exit_now};
use crate::sys::pid::own_pid;
use crate::sys::timer::set_timer;

/// The moment that the timer of this process is set for.
static ARMED_FOR: AtomicU64 = AtomicU64::new(NEVER);

/// Sees to it that the timer expires at `until` or before. For a process that has a handler for
/// SIGALRM. Async-signal-safe.
///
/// A deadline is published in its slot before this is called, and is never missed:
///
/// - SIGALRM's handler says "set for nothing" before it looks at the slots. If it did not see this
///   deadline, it looked before that was published; then its word stands before ours in the one
///   order that the fence gives, we read it or something newer, and compare with that.
/// - Two threads may set the timer in the other order than they lowered `ARMED_FOR`. So whoever
///   has set it looks again, and sets it again unless it is set for what `ARMED_FOR` says: the
///   last one to set it has found the two equal. Whoever lowers `ARMED_FOR` afterwards sets the
///   timer afterwards.
/// - If `ARMED_FOR` says "nothing" by then, the handler runs, and has still to look at the slots.
pub(crate) fn arm(until: u64) {
    fence(Ordering::SeqCst);
    if ARMED_FOR.load(Ordering::SeqCst) <= until
        || ARMED_FOR.fetch_min(until, Ordering::SeqCst) <= until
    {
        return;
    }
    let mut target = until;
    while target != NEVER {
        // Never zero, which would switch the timer off.
        let left = target.saturating_sub(now()).max(1);
        set_timer(Duration::from_nanos(left));
        let wanted = ARMED_FOR.load(Ordering::SeqCst);
        if wanted == target {
            return;
        }
        target = wanted;
    }
}

/// Switches the timer off, when nobody is left who could arm it.
pub(crate) fn disarm() {
    if ARMED_FOR.swap(NEVER, Ordering::SeqCst) != NEVER {
        set_timer(Duration::ZERO);
    }
}

/// In a new child: timers are not inherited, fork(2).
pub(crate) fn reset_child_timer() {
    // Most have nothing to forget, and to write is to copy a page.
    if ARMED_FOR.load(Ordering::SeqCst) != NEVER {
        ARMED_FOR.store(NEVER, Ordering::SeqCst);
    }
}

/// What SIGALRM does. In a child, one that was sent and did not come from the timer is its parent's
/// word that the grace is over. Async-signal-safe.
pub(crate) fn on_alarm(was_sent: bool, handler: &InHandler) {
    ARMED_FOR.store(NEVER, Ordering::SeqCst);
    let now = now();
    let mut next = NEVER;
    let mut grace_is_over = false;
    handler.each_control(|control| {
        next = next.min(answer_expired(control, now));
        let grace_ends = control.limits.grace_ends.load(Ordering::SeqCst);
        grace_is_over |= grace_ends <= now || was_sent && control.role.is_child.is_set();
        next = next.min(grace_ends);
    });
    if grace_is_over {
        handler.each_control(Control::answer_unfinished);
        exit_now(EXIT_GRACE_EXPIRED);
    }
    if next != NEVER {
        arm(next);
    }
}

/// Answers the calls of this process whose time is up; returns the nearest deadline that is left.
/// A child that has thereby lost its only thread ends. Async-signal-safe.
fn answer_expired(control: &Control, now: u64) -> u64 {
    let check = control.scoreboard.answer_expired(own_pid(), now);
    if check.has_answered && control.role.is_child.is_set() {
        if control.role.serves_in_threads.is_set() {
            // A thread is lost, and the other connections must not suffer.
            control.reports.send(REPLACE);
        } else {
            exit_now(EXIT_DEADLINE);
        }
    }
    check.next
}
