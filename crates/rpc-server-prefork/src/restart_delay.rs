//! The delay before a slot whose workers die gets a new one. It has a random part, so that the
//! slots do not all get theirs at the same moment.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use rpc_process::Backoff;

/// A worker that lives this long is healthy: earlier failures in its slot no longer count.
const HEALTHY_AGE: Duration = Duration::from_secs(60);

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(30);

/// The first worker that dies is replaced at once, the next ones after 100 ms, 200 ms and so on up
/// to 30 s, each varied by up to a quarter.
#[derive(Clone, Debug)]
pub(crate) struct RestartDelay {
    backoff: Backoff,
    /// When the next worker may be forked, by the master's clock.
    pub(crate) until: Duration,
}

impl RestartDelay {
    /// Sets the delay after a worker that lived for `age`, zero if it could not be forked. `chance`
    /// is between 0 and 1.
    pub(crate) fn after_exit(&mut self, now: Duration, age: Duration, chance: f64) {
        if age >= HEALTHY_AGE {
            self.backoff.reset();
        }
        self.until = now + self.backoff.delay().mul_f64(0.75 + chance / 2.0);
        self.backoff.grow();
    }
}

impl Default for RestartDelay {
    fn default() -> RestartDelay {
        let backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
        RestartDelay { backoff, until: Duration::ZERO }
    }
}

/// A random number between 0 and 1, from the random keys of the standard library's hash maps.
pub(crate) fn chance() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    random as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(ages: &[u64], chance: f64, expected_ms: &[u64]) {
        let now = Duration::from_secs(1000);
        let mut delay = RestartDelay::default();
        let delays: Vec<_> = ages
            .iter()
            .map(|&age| {
                delay.after_exit(now, Duration::from_secs(age), chance);
                (delay.until - now).as_millis() as u64
            })
            .collect();
        assert_eq!(delays, expected_ms);
    }

    #[test]
    fn the_first_exit_costs_nothing_and_the_next_ones_more_and_more() {
        let doubling = [0, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000];
        check(&[0; 12], 0.5, &doubling);
        check(&[59; 3], 0.5, &[0, 100, 200]);
    }

    #[test]
    fn a_minute_of_health_is_a_new_beginning() {
        check(&[0, 0, 0, 60, 0, 0], 0.5, &[0, 100, 200, 0, 100, 200]);
    }

    #[test]
    fn slots_do_not_act_in_step() {
        check(&[0; 3], 0.0, &[0, 75, 150]);
        check(&[0; 3], 1.0, &[0, 125, 250]);
        let drawn: Vec<_> = (0..100).map(|_| chance()).collect();
        assert!(drawn.iter().all(|chance| (0.0..=1.0).contains(chance)));
        assert!(drawn.iter().any(|chance| *chance < 0.25));
        assert!(drawn.iter().any(|chance| *chance > 0.75));
    }
}
