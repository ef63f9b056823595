//! Not to try again and again what has just failed.

use std::time::Duration;

/// Delays that double, from the first to the longest.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    last: Duration,
}

impl Backoff {
    /// No failure yet.
    pub const fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff { first, longest, last: Duration::ZERO }
    }

    /// After a failure: how long to wait before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        self.last = (self.last * 2).clamp(self.first, self.longest);
        self.last
    }

    /// It has worked.
    pub fn reset(&mut self) {
        self.last = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_begin_anew() {
        let millis = Duration::from_millis;
        let mut backoff = Backoff::new(millis(10), millis(100));
        let delays: Vec<_> = (0..6).map(|_| backoff.next_delay()).collect();
        assert_eq!(delays, [10, 20, 40, 80, 100, 100].map(millis));
        backoff.reset();
        assert_eq!(backoff.next_delay(), millis(10));
    }
}
