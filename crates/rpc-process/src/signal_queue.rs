//! Signals that a supervising process reads one after the other, instead of handling them.

use std::io;

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Blocked signals and the descriptor (signalfd(2)) that they come through.
pub(crate) struct SignalQueue {
    pub(crate) queue: SignalFd,
    /// What this thread had blocked before: the mask of a child.
    pub(crate) mask_before: SigSet,
}

impl SignalQueue {
    /// From here on no handler of `signals` runs in this, the only thread.
    pub(crate) fn of<'a>(signals: impl Iterator<Item = &'a Signal>) -> io::Result<SignalQueue> {
        let signals = SigSet::from_iter(signals.copied());
        let queue = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let mask_before = signals.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
        Ok(SignalQueue { queue, mask_before })
    }

    /// Lets signals interrupt this thread again. What has come and was not read is delivered.
    pub(crate) fn end(self) {
        let _ = self.mask_before.thread_set_mask();
    }

    /// The next signal that has come; several of one kind may be one (signal(7)).
    pub(crate) fn next(&self) -> Option<Signal> {
        let info = self.queue.read_signal().ok()??;
        Signal::try_from(info.ssi_signo as i32).ok()
    }
}
