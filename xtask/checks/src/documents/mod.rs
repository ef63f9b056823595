//! Whether the documents say what is true of the code, and link to what is there.
//!
//! The documentation within source files belongs into `sources`.

pub(super) mod links;
pub(super) mod readme;
pub(super) mod wire;
