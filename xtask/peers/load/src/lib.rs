//! How every peer is started, called and timed, so that only the library under it differs.
//!
//! Each peer is one program with two modes. `PEER serve` prints `listening on 127.0.0.1:PORT` and
//! serves until it is killed. `PEER drive ADDRESS …` calls such a server for a while and prints
//! one line of JSON: `{"calls":…,"seconds":…,"p50_us":…,"p99_us":…}`.

mod program;
mod tasks;
mod threads;
mod turn;

pub use program::{Load, Mode, announce, announce_when_reachable, free_address};
pub use tasks::{Connect, Echo, drive_tasks};
pub use threads::{BlockingConnect, BlockingEcho, drive_threads};
pub use turn::Turn;
