//! Counting the connections that are served: a limit, and a wait until there are none.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A number of places, of which each connection takes one.
pub(crate) struct Places {
    limit: usize,
    shared: Arc<Shared>,
}

struct Shared {
    taken: Mutex<usize>,
    given_back: Condvar,
}

impl Places {
    pub(crate) fn new(limit: usize) -> Places {
        let shared = Shared { taken: Mutex::new(0), given_back: Condvar::new() };
        Places { limit, shared: Arc::new(shared) }
    }

    /// A place, if one is free.
    pub(crate) fn take(&self) -> Option<Place> {
        let mut taken = self.shared.taken();
        if *taken >= self.limit {
            return None;
        }
        *taken += 1;
        Some(Place { shared: Arc::clone(&self.shared) })
    }

    /// Blocks until every place was given back, or for `timeout`. Returns how many are still out.
    pub(crate) fn wait_until_all_are_back(&self, timeout: Duration) -> usize {
        let taken = self.shared.taken();
        let waited = self.shared.given_back.wait_timeout_while(taken, timeout, |taken| *taken > 0);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Shared {
    /// No code panics while it holds the lock, so a poisoned one is as good as any.
    fn taken(&self) -> MutexGuard<'_, usize> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to serve one connection; dropping it gives it back.
pub(crate) struct Place {
    shared: Arc<Shared>,
}

impl Drop for Place {
    fn drop(&mut self) {
        *self.shared.taken() -= 1;
        self.shared.given_back.notify_one();
    }
}
