//! Every promise, over every model, through real processes and real sockets.
//!
//! A promise is a function that takes the model. `over_every_model!` makes one test of it for each
//! model, so that a failure names both: `wire::a_request_may_be_split_anywhere::fork`.

#[macro_use]
mod every_model;
mod raw;
mod server;

mod addresses;
mod crashes;
mod deadlines;
mod frame_limit;
mod isolation;
mod kills;
mod limits;
mod memory;
mod options;
mod refusals;
mod seed;
mod stats;
mod timeouts;
mod values;
mod wire;

mod demo;
mod lifecycle;
mod package;
mod soak;
mod top;
