//! The clock of a process that supervises.

use std::time::Duration;

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
