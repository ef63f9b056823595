//! Not to try again and again what has just failed.

use std::io;
use std::time::{Duration, Instant};

use crate::error::ForkError;

const FIRST_DELAY: Duration = Duration::from_millis(10);
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// The time after a fork that the system refused: 10 ms, doubling to 1 s. A fork is expensive, most
/// of all where memory is short, and who asks meanwhile can be told at once.
#[derive(Default)]
pub(crate) struct Pause {
    delay: Duration,
    /// When it is over, and what had failed.
    refused: Option<(Instant, i32)>,
}

impl Pause {
    /// The error of the last attempt, while another one makes no sense.
    pub(crate) fn check(&self) -> Result<(), ForkError> {
        match self.refused {
            Some((until, error)) if Instant::now() < until => {
                Err(ForkError::Fork(io::Error::from_raw_os_error(error)))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn begin(&mut self, error: &io::Error) {
        self.delay = (self.delay * 2).clamp(FIRST_DELAY, LONGEST_DELAY);
        let error = error.raw_os_error().unwrap_or_default();
        self.refused = Some((Instant::now() + self.delay, error));
    }

    /// It has worked, or there is room again.
    pub(crate) fn end(&mut self) {
        if self.refused.is_some() {
            *self = Pause::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_repeated_until_there_may_be_room() {
        let mut pause = Pause::default();
        pause.check().unwrap();
        for expected in [10, 20, 40, 80, 160, 320, 640, 1000, 1000].map(Duration::from_millis) {
            pause.begin(&io::Error::from_raw_os_error(11));
            assert_eq!(pause.delay, expected);
        }
        let ForkError::Fork(error) = pause.check().unwrap_err() else {
            panic!("another error");
        };
        assert_eq!(error.raw_os_error(), Some(11));
        pause.end();
        pause.check().unwrap();
    }
}
