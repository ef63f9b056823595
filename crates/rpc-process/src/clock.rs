//! The clock of a supervising process.

use std::time::Duration;

/// If a wait took this much longer than its limit, the process was stopped meanwhile.
const SLACK: Duration = Duration::from_millis(500);

/// Counts the time spent waiting. When a supervisor was stopped (SIGSTOP, a debugger, a suspended
/// machine) and continues, every deadline is as far away as before, so no child is ended for the
/// time in which the supervisor could not watch it.
#[derive(Default)]
pub(crate) struct Clock {
    now: Duration,
}

impl Clock {
    /// The time spent waiting so far.
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// Adds a wait that took `passed` and had the limit `limit`.
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
