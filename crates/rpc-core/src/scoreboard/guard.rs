//! The slot of one connection, and with it what the connection shares with its server.

use std::ops::Deref;
use std::os::fd::RawFd;
use std::sync::Arc;

use crate::scoreboard::slot::Slot;
use crate::scoreboard::table::Scoreboard;
use crate::sys::pid::own_pid;

/// A slot that is held for a connection and given back on drop, if it still belongs to this
/// process.
///
/// It counts as one reference to whatever has the scoreboard: each count is a page that is written,
/// and after a fork copied.
pub(crate) struct SlotGuard<S: AsRef<Scoreboard>> {
    pub(crate) shared: Arc<S>,
    index: usize,
}

impl<S: AsRef<Scoreboard>> SlotGuard<S> {
    /// `None` when all slots are taken.
    pub(crate) fn claim(shared: &Arc<S>, socket: RawFd) -> Option<SlotGuard<S>> {
        let index = (**shared).as_ref().claim(own_pid())?;
        let guard = SlotGuard { shared: Arc::clone(shared), index };
        guard.set_socket(socket);
        Some(guard)
    }
}

impl<S: AsRef<Scoreboard>> Deref for SlotGuard<S> {
    type Target = Slot;

    #[inline]
    fn deref(&self) -> &Slot {
        (*self.shared).as_ref().slot(self.index)
    }
}

impl<S: AsRef<Scoreboard>> Drop for SlotGuard<S> {
    fn drop(&mut self) {
        (*self.shared).as_ref().release(self.index);
    }
}
