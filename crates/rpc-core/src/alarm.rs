//! The alarm: every process that serves watches itself with one one-shot timer, setitimer(2).
//!
//! It is set for whatever comes first: the nearest deadline of a call, or the end of the grace
//! after a stop. SIGALRM's handler walks the slots of its own process, answers whoever is late,
//! and sets the timer for what is left, or not at all. So nothing ticks, and nobody is needed who
//! watches from outside: it works alike in all models.
//!
//! A stream of calls with equal time-outs sets the timer once in such a time, because a later
//! deadline finds it set for an earlier one.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use crate::death::EXIT_DEADLINE;
use crate::scoreboard::own_pid;
use crate::shutdown::{Control, EXIT_GRACE_EXPIRED, exit_now};
use crate::signals::{each_control, set_timer};

/// A moment that does not come.
pub(crate) const NEVER: u64 = u64::MAX;

/// What moments are counted from. Set before any fork, so that all processes of a server agree.
static EPOCH: OnceLock<Instant> = OnceLock::new();

/// The moment that the timer of this process is set for.
static ARMED_FOR: AtomicU64 = AtomicU64::new(NEVER);

/// `at` in nanoseconds, counted by CLOCK_MONOTONIC from a moment that all processes of the server
/// share; at least 1. Async-signal-safe once it was called, since clock_gettime(2) is.
pub(crate) fn moment(at: Instant) -> u64 {
    let epoch = *EPOCH.get_or_init(Instant::now);
    let nanos = at.saturating_duration_since(epoch).as_nanos();
    u64::try_from(nanos).unwrap_or(NEVER - 1).clamp(1, NEVER - 1)
}

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
    let mut aim = until;
    while aim != NEVER {
        // Never zero, which would switch the timer off.
        let left = aim.saturating_sub(moment(Instant::now())).max(1);
        set_timer(Duration::from_nanos(left));
        let wanted = ARMED_FOR.load(Ordering::SeqCst);
        if wanted == aim {
            return;
        }
        aim = wanted;
    }
}

/// Switches the timer off, when nobody is left who could arm it.
pub(crate) fn disarm() {
    if ARMED_FOR.swap(NEVER, Ordering::SeqCst) != NEVER {
        set_timer(Duration::ZERO);
    }
}

/// In a new child: timers are not inherited, fork(2).
pub(crate) fn forget_timer() {
    // Most have nothing to forget, and to write is to copy a page.
    if ARMED_FOR.load(Ordering::SeqCst) != NEVER {
        ARMED_FOR.store(NEVER, Ordering::SeqCst);
    }
}

/// What SIGALRM does. In a child, one that was sent and did not come from the timer is its parent's
/// word that the grace is over. Async-signal-safe.
pub(crate) fn on_alarm(was_sent: bool) {
    ARMED_FOR.store(NEVER, Ordering::SeqCst);
    let now = moment(Instant::now());
    let mut next = NEVER;
    let mut grace_is_over = false;
    each_control(|control| {
        next = next.min(control.answer_late(now));
        let grace_ends = control.grace_ends.load(Ordering::SeqCst);
        grace_is_over |= grace_ends <= now || was_sent && control.is_child.load(Ordering::SeqCst);
        next = next.min(grace_ends);
    });
    if grace_is_over {
        each_control(Control::answer_unfinished);
        exit_now(EXIT_GRACE_EXPIRED);
    }
    if next != NEVER {
        arm(next);
    }
}

impl Control {
    /// Answers the calls of this process whose time is up; returns the nearest deadline that is
    /// left. A child that has thereby lost its only thread ends. Async-signal-safe.
    fn answer_late(&self, now: u64) -> u64 {
        let watched = self.scoreboard.answer_late(own_pid(), now);
        if watched.has_answered && self.is_child.load(Ordering::SeqCst) {
            if self.serves_beside_accepting.load(Ordering::SeqCst) {
                self.ask_for_replacement();
            } else {
                exit_now(EXIT_DEADLINE);
            }
        }
        watched.next.unwrap_or(NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_ordered_as_time_is() {
        let first = moment(Instant::now());
        let now = Instant::now();
        let century = Duration::from_secs(100 * 366 * 24 * 3600);
        assert!(first >= 1, "0 means that there is no deadline");
        assert!(first <= moment(now) && moment(now) < moment(now + Duration::from_nanos(2)));
        assert!(moment(now + century) < moment(now + 10 * century));
        assert!(moment(now + 10 * century) < NEVER, "more than 64 bits hold");
    }
}
