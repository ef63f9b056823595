//! Growing delays between attempts that fail.

use std::time::Duration;

/// A delay that doubles with each failure, from the first to the longest.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    delay: Duration,
}

impl Backoff {
    /// A backoff without failures.
    pub const fn new(first: Duration, longest: Duration) -> Backoff {
        Backoff { first, longest, delay: Duration::ZERO }
    }

    /// How long to wait before the next attempt; zero while there is no failure.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Call this after a failure.
    pub fn grow(&mut self) {
        self.delay = (self.delay * 2).clamp(self.first, self.longest);
    }

    /// Call this after a success.
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
