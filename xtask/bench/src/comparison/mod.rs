//! The table of `bench` without further options: two servers in turns, or one and its target.
//!
//! Here belongs what a line of that table measures. Tables of another form have folders of their own.

pub(crate) mod cases;
pub(crate) mod load;
pub(crate) mod memory;
pub(crate) mod report;
pub(crate) mod rounds;
pub(crate) mod stopping;
