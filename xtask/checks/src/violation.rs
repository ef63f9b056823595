//! What a rule finds.

use std::fmt;

/// Something in the repository that is not as docs/architecture.md says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// Relative to the root of the repository, with `/`.
    pub file: String,
    pub line: usize,
    pub what: String,
    pub why: String,
}

impl Violation {
    pub(crate) fn new(
        file: &str,
        line: usize,
        what: impl Into<String>,
        why: impl Into<String>,
    ) -> Violation {
        Violation { file: file.to_owned(), line, what: what.into(), why: why.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation { file, line, .. } = self;
        write!(f, "{file}:{line}: {} ({})", self.what, self.why)
    }
}
