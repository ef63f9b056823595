//! What must come back, by a second reading of docs/wire.md that is too plain to be wrong.
//!
//! It shares no code with the frame reader and the parser that it is held against.

pub(super) mod answers;
mod envelope;
pub(super) mod splitting;
