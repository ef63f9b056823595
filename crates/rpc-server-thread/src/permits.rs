//! Permits limit how many connections are served, and let a stop wait until none is left.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

/// A limited number of permits. Each connection takes one.
pub(crate) struct Permits {
    limit: usize,
    /// All permits are clones of this one.
    original: Permit,
    /// Disconnected when the last permit is dropped.
    returns: Receiver<Infallible>,
}

/// The right to serve one connection. Dropping it returns it.
#[derive(Clone)]
pub(crate) struct Permit(Arc<Sender<Infallible>>);

impl Permits {
    pub(crate) fn new(limit: usize) -> Permits {
        let (sender, returns) = bounded(0);
        Permits { limit, original: Permit(Arc::new(sender)), returns }
    }

    /// A permit, if one is left. Takes `&mut self` because two threads at once could take one too
    /// many.
    pub(crate) fn take(&mut self) -> Option<Permit> {
        let taken = Arc::strong_count(&self.original.0) - 1;
        (taken < self.limit).then(|| self.original.clone())
    }

    /// Blocks until all permits are returned, for at most `timeout`. Returns how many are still
    /// taken.
    pub(crate) fn wait_until_all_are_back(self, timeout: Duration) -> usize {
        let permits = Arc::downgrade(&self.original.0);
        drop(self.original);
        // Nothing is ever sent: this returns when the last permit is dropped.
        let _ = self.returns.recv_timeout(timeout);
        permits.strong_count()
    }
}
