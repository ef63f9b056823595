//! What can be tested of children in a process that has threads: that it has none.

/// Refusing to fork where it is not safe.
mod forking;
