//! How long to wait before a worker is forked again, when workers die as soon as they live.

use std::time::{Duration, Instant};

use rpc_core::Death;

/// A worker that lives this long is healthy: its death is replaced at once.
const HEALTHY_AGE: Duration = Duration::from_secs(1);

const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// No delay after the first early death, then 100 ms, doubling to 5 s, until a worker was healthy.
pub(crate) struct Backoff {
    delay: Duration,
    until: Option<Instant>,
}

impl Backoff {
    pub(crate) fn new() -> Backoff {
        Backoff { delay: Duration::ZERO, until: None }
    }

    pub(crate) fn look_at(&mut self, deaths: &[Death]) {
        if deaths.iter().any(|death| death.age >= HEALTHY_AGE) {
            *self = Backoff::new();
        } else if !deaths.is_empty() {
            self.another_failure();
        }
    }

    pub(crate) fn another_failure(&mut self) {
        self.until = Some(Instant::now() + self.delay);
        self.delay = (self.delay * 2).clamp(FIRST_DELAY, LONGEST_DELAY);
    }

    /// `None` when there is nothing to wait for.
    pub(crate) fn left(&self) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}
