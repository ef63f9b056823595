//! Not to try again and again what has just failed.

use std::time::Duration;

/// Delays that double, from the first to the longest.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    delay: Duration,
}

impl Backoff {
    /// No failure yet.
    pub const fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff { first, longest, delay: Duration::ZERO }
    }

    /// How long to wait before the next attempt; not at all before the first failure.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// It has failed.
    pub fn grow(&mut self) {
        self.delay = (self.delay * 2).clamp(self.first, self.longest);
    }

    /// It has worked.
    pub fn reset(&mut self) {
        self.delay = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_begin_anew() {
        let millis = Duration::from_millis;
        let mut backoff = Backoff::new(millis(10), millis(100));
        for expected in [0, 10, 20, 40, 80, 100, 100] {
            assert_eq!(backoff.delay(), millis(expected));
            backoff.grow();
        }
        backoff.reset();
        assert_eq!(backoff.delay(), Duration::ZERO);
    }
}
