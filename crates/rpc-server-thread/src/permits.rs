//! Counting the connections that are served: a limit, and a wait until there are none.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

/// A number of permits, of which each connection takes one.
pub(crate) struct Permits {
    limit: usize,
    /// What all permits are copies of.
    original: Permit,
    /// Is disconnected when the last permit is gone.
    returns: Receiver<Infallible>,
}

/// The right to serve one connection; dropping it gives it back.
#[derive(Clone)]
pub(crate) struct Permit(Arc<Sender<Infallible>>);

impl Permits {
    pub(crate) fn new(limit: usize) -> Permits {
        let (sender, returns) = bounded(0);
        Permits { limit, original: Permit(Arc::new(sender)), returns }
    }

    /// A permit, if one is left. Only one thread may ask, or there could be one too many.
    pub(crate) fn take(&mut self) -> Option<Permit> {
        let taken = Arc::strong_count(&self.original.0) - 1;
        (taken < self.limit).then(|| self.original.clone())
    }

    /// Blocks until every permit was given back, or for `timeout`. Returns how many are still out.
    pub(crate) fn wait_until_all_are_back(self, timeout: Duration) -> usize {
        let permits = Arc::downgrade(&self.original.0);
        drop(self.original);
        // Nobody sends anything: this ends with the last permit.
        let _ = self.returns.recv_timeout(timeout);
        permits.strong_count()
    }
}
