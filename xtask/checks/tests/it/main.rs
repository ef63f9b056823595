//! The checks, as a user runs them.

mod tidy;
