//! The program's hooks for two moments of a server: accepting has begun, and listening ends.

/// What the program runs at such a moment.
pub(crate) type Hook = Box<dyn FnOnce() + Send + Sync>;

#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) on_accepting: Option<Hook>,
    /// Runs only if accepting has begun.
    pub(crate) on_closing: Option<Hook>,
    has_begun: bool,
}

impl Hooks {
    pub(crate) fn announce_accepting(&mut self) {
        self.has_begun = true;
        if let Some(hook) = self.on_accepting.take() {
            hook();
        }
    }

    pub(crate) fn announce_closing(&mut self) {
        if self.has_begun
            && let Some(hook) = self.on_closing.take()
        {
            hook();
        }
    }
}
