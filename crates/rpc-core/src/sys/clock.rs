//! Moments in time that processes can share: nanoseconds of CLOCK_MONOTONIC.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A moment that never comes.
pub(crate) const NEVER: u64 = u64::MAX;

/// The current time in nanoseconds of CLOCK_MONOTONIC. It is the same in all processes, never 0,
/// and does not reach [`NEVER`] for centuries. An `Instant` can neither be shared nor be stored in
/// an atomic. Async-signal-safe, as clock_gettime(2) is.
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
        assert!(later[3] < NEVER, "bounded where 64 bits are too few");
    }
}
