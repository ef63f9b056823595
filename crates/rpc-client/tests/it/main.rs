//! The client against peers that behave and peers that do not.
