//! The parts of a server that need no process of their own to be tested.
