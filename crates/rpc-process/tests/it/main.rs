//! What can be tested in a process with threads, as a test is: that it is not forked.

/// Refusing to fork where it is not safe.
mod forking;
