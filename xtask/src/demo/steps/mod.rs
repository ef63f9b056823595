//! The steps of the demo: a file for each, with the figures that it finds.
//!
//! Here also belongs what the steps share: the plan, the clients, the outcome of a step. What the
//! figures must be belongs into `expectation`, and how they are shown into `report`.

pub(super) mod client;
pub(super) mod cores;
pub(super) mod faults;
pub(super) mod idle;
pub(super) mod late;
pub(super) mod load;
pub(super) mod plan;
pub(super) mod second_client;
pub(super) mod session;
pub(super) mod step;
pub(super) mod stop;
