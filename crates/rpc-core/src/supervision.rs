//! What a supervising process sees, how long it waits, and its clock.

use std::time::Duration;

use crate::death::Reason;

/// What happened to the children of a server, or what somebody wants done with them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// The worker with this process id is about to accept for the first time.
    Ready(i32),
    /// The worker with this process id goes on, but somebody else should take its place.
    WantsReplacement(i32),
    /// A child has ended and was reaped.
    Ended(Death),
    /// A signal asks for something.
    Order(Order),
}

/// What signals can ask of a master, besides to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Order {
    /// SIGHUP: new workers for the old ones.
    Reload,
    /// SIGTTIN: one worker more.
    OneMore,
    /// SIGTTOU: one worker less.
    OneLess,
    /// SIGUSR2: a new program for the old one.
    Upgrade,
}

/// A child that has ended and was reaped.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Death {
    /// Its process id, which may belong to somebody else by now.
    pub pid: i32,
    /// Why it ended.
    pub reason: Reason,
    /// Whether it served, or could have.
    pub was_ready: bool,
    /// How long it lived.
    pub age: Duration,
}

/// How long a master waits for its workers.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until a new worker is ready.
    pub boot: Duration,
    /// Until the connections of a worker that retires have ended by themselves.
    pub drain: Duration,
    /// Until somebody lets a stopped worker go on.
    pub hung: Duration,
}

impl Default for Patience {
    /// 60 s to be ready, 30 s to drain, as Gunicorn's `graceful_timeout`, and 30 s of standstill,
    /// as Gunicorn's `timeout`.
    fn default() -> Patience {
        let seconds = Duration::from_secs;
        Patience { boot: seconds(60), drain: seconds(30), hung: seconds(30) }
    }
}

/// A wait that took this much longer than it was to take did not wait: the process was stopped.
const SLACK: Duration = Duration::from_millis(500);

/// Counts the time that was waited. A supervisor that is stopped (SIGSTOP, a debugger, a machine
/// that sleeps) and goes on finds every deadline as far away as it was, and punishes nobody for
/// the time that it could not watch.
#[derive(Default)]
pub(crate) struct Clock {
    now: Duration,
}

impl Clock {
    /// The time that was waited so far.
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// After a wait that took `passed` and was to end after `limit` at the latest.
    pub(crate) fn pass(&mut self, passed: Duration, limit: Option<Duration>) {
        if limit.is_none_or(|limit| passed <= limit.saturating_add(SLACK)) {
            self.now += passed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_that_took_far_too_long_does_not_count() {
        let second = Duration::from_secs(1);
        let mut clock = Clock::default();
        let cases = [
            (second, Some(second), 1),
            (second, None, 2),
            (3600 * second, Some(second), 2),
            (second, Some(3600 * second), 3),
            (3600 * second, None, 3603),
        ];
        for (passed, limit, expected) in cases {
            clock.pass(passed, limit);
            assert_eq!(clock.now(), expected * second, "{passed:?} of {limit:?}");
        }
    }
}
