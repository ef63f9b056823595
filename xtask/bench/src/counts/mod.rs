//! `--syscalls` and `--instructions`: what a call costs in numbers that no neighbour disturbs.
//!
//! Whatever is a time or a rate belongs into another folder.

pub(crate) mod instructions;
pub(crate) mod system_calls;
