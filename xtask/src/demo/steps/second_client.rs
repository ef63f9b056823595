//! Whether a second client has to wait for the first, which is connected and silent.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use crate::demo::steps::client::{connect, is_served_within, ping};
use crate::launch::Server;

/// New connections whose first replies are timed; the median is shown.
const ARRIVALS: usize = 15;

#[derive(Serialize)]
pub(crate) struct SecondClient {
    pub(crate) waits: bool,
    /// How long it was given to be served at once.
    pub(crate) given_ms: u64,
    /// From the begin of connecting to the first reply, the median of some clients. Of one that
    /// waits: after the first client had gone.
    pub(crate) first_reply_us: f64,
}

/// `given`: how long the second client has to be served at once.
pub(crate) fn measure(server: &Server, given: Duration) -> anyhow::Result<SecondClient> {
    let mut first = connect(server)?;
    ping(&mut first).context("the first client is not served")?;

    let waits = !is_served_within(server, given).context("the second client")?;
    if waits {
        drop(first);
    }

    let mut first_replies = Vec::new();
    for _ in 0..ARRIVALS {
        let begun = Instant::now();
        let mut client = connect(server)?;
        ping(&mut client).context("a client after the second is not served")?;
        first_replies.push(begun.elapsed());
    }
    first_replies.sort_unstable();
    Ok(SecondClient {
        waits,
        given_ms: u64::try_from(given.as_millis()).unwrap_or(u64::MAX),
        first_reply_us: first_replies[ARRIVALS / 2].as_nanos() as f64 / 1e3,
    })
}
