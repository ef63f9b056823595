//! `--peers`: the thread server beside other RPC libraries.
//!
//! Their programs are in xtask/peers; here belongs what builds, starts and compares them.

pub(crate) mod measure;
pub(crate) mod report;
