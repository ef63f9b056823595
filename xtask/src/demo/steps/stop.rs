//! SIGTERM, with idle connections open.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::demo::steps::step::millis;
use crate::launch::Server;

/// How long it may take.
const LIMIT: Duration = Duration::from_secs(5);

#[derive(Serialize)]
pub(crate) struct Stop {
    pub(crate) status: Option<i32>,
    pub(crate) millis: f64,
    /// Connections that were open and idle.
    pub(crate) connections: usize,
}

pub(crate) fn measure(server: &mut Server, connections: usize) -> anyhow::Result<Stop> {
    let begun = Instant::now();
    let status = server.stop(LIMIT)?;
    Ok(Stop { status: status.code(), millis: millis(begun.elapsed()), connections })
}
