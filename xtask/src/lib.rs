//! Launches the servers and clients of this workspace together.
//!
//! The only place that knows every model. Each command is a module; `cargo xtask help` lists them.

#![forbid(unsafe_code)]

pub mod call;
pub mod demo;
pub mod fuzz;
pub mod launch;
pub mod log;
pub mod model;
pub mod package;
pub mod proc;
mod progress;
mod raw;
pub mod serve;
pub mod soak;
pub mod table;
pub mod top;
