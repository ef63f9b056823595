//! Every promise, over every model, through real processes and real sockets.

mod peers;
mod tidy;
