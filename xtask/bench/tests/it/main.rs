//! The bench, as a user runs it, only for a shorter time.

mod bench;
mod peers;
