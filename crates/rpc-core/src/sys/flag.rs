//! A flag that threads and signal handlers share.

use std::sync::atomic::{AtomicBool, Ordering};

/// A flag whose methods are async-signal-safe.
#[derive(Debug, Default)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    #[inline]
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub(crate) fn clear(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// Sets the flag, and returns whether it was set before.
    pub(crate) fn test_and_set(&self) -> bool {
        self.0.swap(true, Ordering::SeqCst)
    }
}
