//! The timer for deadlines: each process that serves has one one-shot timer, setitimer(2).
//!
//! It is set for the nearest deadline of a call or the end of the grace after a stop, whichever
//! comes first. The handler of SIGALRM walks the slots of its own process, answers the calls whose
//! deadlines have passed, and sets the timer for the nearest one that is left, if there is one. No
//! periodic timer and no watching process is needed, so this works the same way in all models.
//!
//! A stream of calls with equal timeouts sets the timer only once per timeout, because a later
//! deadline finds it set for an earlier one.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use crate::stop::control::Control;
use crate::stop::registered::InHandler;
use crate::stop::status_pipe::REPLACE;
use crate::sys::clock::{NEVER, now};
use crate::sys::exit::{EXIT_DEADLINE, EXIT_GRACE_EXPIRED, exit_now};
use crate::sys::timer::set_timer;

/// The moment that the timer of this process is set for.
static ARMED_FOR: AtomicU64 = AtomicU64::new(NEVER);

/// Ensures that the timer expires at `until` or earlier. For a process that has a handler for
/// SIGALRM. Async-signal-safe.
///
/// The caller publishes the deadline in its slot first. It is then never missed:
///
/// - The handler of SIGALRM sets `ARMED_FOR` to [`NEVER`] before it reads the slots. If it did not
///   see this deadline, it read the slot before the deadline was published. Its store then comes
///   before our load in the single order that the fence gives, so we read that value or a newer
///   one, and compare with it.
/// - Two threads may set the timer in another order than they lowered `ARMED_FOR`. Therefore a
///   thread that has set the timer reads `ARMED_FOR` again, and sets the timer again unless the two
///   are equal: the last thread to set it has found them equal. A thread that lowers `ARMED_FOR`
///   after that sets the timer after that.
/// - If `ARMED_FOR` is [`NEVER`] by then, the handler runs, and has yet to read the slots.
pub(crate) fn arm(until: u64) {
    fence(Ordering::SeqCst);
    if ARMED_FOR.load(Ordering::SeqCst) <= until
        || ARMED_FOR.fetch_min(until, Ordering::SeqCst) <= until
    {
        return;
    }
    let mut target = until;
    while target != NEVER {
        // Never zero, which would turn the timer off.
        let left = target.saturating_sub(now()).max(1);
        set_timer(Duration::from_nanos(left));
        let wanted = ARMED_FOR.load(Ordering::SeqCst);
        if wanted == target {
            return;
        }
        target = wanted;
    }
}

/// Turns the timer off. Only called when no server is left that could arm it.
pub(crate) fn disarm() {
    if ARMED_FOR.swap(NEVER, Ordering::SeqCst) != NEVER {
        set_timer(Duration::ZERO);
    }
}

/// Called in a new child, which does not inherit the timer: fork(2).
pub(crate) fn reset_child_timer() {
    // In most children nothing has to change, and a write would copy a page.
    if ARMED_FOR.load(Ordering::SeqCst) != NEVER {
        ARMED_FOR.store(NEVER, Ordering::SeqCst);
    }
}

/// What SIGALRM does. In a child, one that its parent has sent means that the grace is over. One that
/// another process or a handler has sent is an early look at the time. Async-signal-safe.
pub(crate) fn on_alarm(is_from_parent: bool, handler: &InHandler) {
    ARMED_FOR.store(NEVER, Ordering::SeqCst);
    let now = now();
    let mut next = NEVER;
    let mut grace_is_over = false;
    handler.each_control(|control| {
        next = next.min(answer_expired(control, now));
        let is_child = control.role.is_child.is_set();
        match control.limits.grace_ends.load(Ordering::SeqCst) {
            0 => {}
            moment if moment > now => next = next.min(moment),
            // A program without requests in flight may go on, a child has nothing else to do.
            _ => grace_is_over |= is_child || control.scoreboard.has_own_slot(),
        }
        grace_is_over |= is_child && is_from_parent;
    });
    if grace_is_over {
        handler.each_control(Control::answer_unfinished);
        exit_now(EXIT_GRACE_EXPIRED);
    }
    if next != NEVER {
        arm(next);
    }
}

/// Answers the calls of this process whose deadlines have passed; returns the nearest deadline that
/// is left. A child that loses its only thread to such a call exits. Async-signal-safe.
fn answer_expired(control: &Control, now: u64) -> u64 {
    let check = control.scoreboard.answer_expired(now);
    if check.has_answered && control.role.is_child.is_set() {
        if control.role.serves_in_threads.is_set() {
            // The process has lost a thread, but its other connections must continue.
            control.reports.send(REPLACE);
        } else {
            exit_now(EXIT_DEADLINE);
        }
    }
    check.next
}
