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

use nix::time::{ClockId, clock_gettime};

use crate::scoreboard::table::own_pid;
use crate::stop::control::Control;
use crate::stop::signals::{each_control, set_timer};
use crate::sys::exit::{EXIT_DEADLINE, EXIT_GRACE_EXPIRED, exit_now};

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A moment that does not come.
pub(crate) const NEVER: u64 = u64::MAX;

/// The moment that the timer of this process is set for.
static ARMED_FOR: AtomicU64 = AtomicU64::new(NEVER);

/// What time it is in nanoseconds, by CLOCK_MONOTONIC: in all processes the same, never 0, and
/// [`NEVER`] not for centuries. An `Instant` can neither be shared nor stored in one atomic.
/// Async-signal-safe, as clock_gettime(2) is.
#[inline]
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux has this clock");
    time.tv_sec() as u64 * NANOS_PER_SEC + time.tv_nsec() as u64
}

/// The moment `time` from now. Async-signal-safe.
#[inline]
pub(crate) fn moment_in(time: Duration) -> u64 {
    let nanos = time.as_secs().saturating_mul(NANOS_PER_SEC);
    let nanos = nanos.saturating_add(time.subsec_nanos().into());
    now().saturating_add(nanos).min(NEVER - 1)
}

/// The same moment as the standard library counts, each time the same.
pub(crate) fn as_instant(moment: u64) -> Instant {
    static SAME_MOMENT: OnceLock<(Instant, u64)> = OnceLock::new();
    let (instant, same) = *SAME_MOMENT.get_or_init(|| {
        let pairs = std::iter::repeat_with(|| (now(), Instant::now(), now())).take(10);
        // This process may have to wait between the two.
        let closest = pairs.min_by_key(|(before, _, after)| after - before);
        closest.map(|(_, instant, after)| (instant, after)).expect("there are ten")
    });
    match moment.checked_sub(same) {
        Some(later) => instant + Duration::from_nanos(later),
        None => instant - Duration::from_nanos(same - moment),
    }
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
        let left = aim.saturating_sub(now()).max(1);
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
    let now = now();
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
            if self.serves_in_threads.load(Ordering::SeqCst) {
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
        let first = now();
        assert!(first >= 1, "0 means that there is no deadline");
        let century = Duration::from_secs(100 * 366 * 24 * 3600);
        let later = [Duration::ZERO, Duration::from_secs(1), century, Duration::MAX].map(moment_in);
        assert!(first <= later[0] && later.is_sorted_by(|a, b| a < b), "{later:?}");
        assert!(later[3] < NEVER, "more than 64 bits hold");
    }

    #[test]
    fn a_moment_is_an_instant() {
        let before = Instant::now();
        let (early, late) = (now(), moment_in(Duration::from_secs(60)));
        assert_eq!(as_instant(late) - as_instant(early), Duration::from_nanos(late - early));
        assert!(as_instant(early).duration_since(before) < Duration::from_secs(30));
        let future = as_instant(late).duration_since(before);
        assert!(future >= Duration::from_secs(59), "{future:?}");
    }
}
