//! Signals that a supervising process reads one by one, instead of handling them in a signal
//! handler.

use std::io;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Blocked signals and the signalfd(2) from which they are read.
pub(crate) struct SignalQueue {
    pub(crate) queue: SignalFd,
    /// The signal mask from before, which a child gets back.
    pub(crate) mask_before: SigSet,
}

impl SignalQueue {
    /// Blocks `signals` in this thread, which must be the only one, so that their handlers do not
    /// run. Signals that were not read are delivered by [`end`](SignalQueue::end).
    pub(crate) fn of<'a>(signals: impl Iterator<Item = &'a Signal>) -> io::Result<SignalQueue> {
        let signals = SigSet::from_iter(signals.copied());
        let queue = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let mask_before = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(SignalQueue { queue, mask_before })
    }

    /// Restores the signal mask. Pending signals that were not read are delivered.
    pub(crate) fn end(self) {
        let _ = self.mask_before.thread_set_mask();
    }

    /// The next pending signal. Several of the same number may be merged (signal(7)). Does not
    /// block.
    pub(crate) fn next(&self) -> Option<Signal> {
        let info = self.queue.read_signal().ok()??;
        Signal::try_from(info.ssi_signo as i32).ok()
    }
}
