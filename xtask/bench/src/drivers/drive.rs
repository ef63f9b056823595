//! `xtask drive`: calls of the project's client for a while, as a program of its own.
//!
//! The programs in xtask/peers take the same arguments and print the same line, so that all clients
//! are started, timed and ended alike.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use nix::unistd::alarm;
use serde::{Deserialize, Serialize};

use crate::drivers::driver::{OwnClient, Turn, together};
use crate::exchange::text;

/// How many seconds it may take beyond the time for which it should call.
const TIME_TO_END: u64 = 60;

/// The options of `drive`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Options {
    /// Where a server offers echo
    address: SocketAddr,
    /// How many connections to open, each with a thread of its own
    #[arg(long, value_name = "N", default_value_t = 1)]
    connections: usize,
    /// How many calls at a time on each; this client makes one
    #[arg(long, value_name = "N", default_value_t = 1)]
    in_flight: usize,
    /// Characters in the text that is sent
    #[arg(long, value_name = "N", default_value_t = 9)]
    payload: usize,
    /// How long to call
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    seconds: f64,
    /// A new connection for every call
    #[arg(long)]
    churn: bool,
}

/// The line that a driver prints.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Driven {
    /// How many calls were answered.
    pub(crate) calls: u64,
    /// How long that took.
    pub(crate) seconds: f64,
    /// The median time of a call, in microseconds.
    pub(crate) p50_us: f64,
    /// The time that one call in a hundred exceeded.
    pub(crate) p99_us: f64,
}

/// Calls and prints one line of JSON.
///
/// # Errors
///
/// When a call fails or answers another text, and when more than one call at a time is asked for.
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let length = Duration::try_from_secs_f64(options.seconds).context("--seconds")?;
    ensure!(options.connections > 0, "--connections must be at least 1");
    ensure!(options.in_flight == 1, "one call at a time on a connection");
    // A call that hangs ends the program, so that a measurement fails and does not hang.
    let seconds = length.as_secs().saturating_add(TIME_TO_END);
    alarm::set(u32::try_from(seconds).context("--seconds")?);

    let text = text(options.payload);
    let connect = || OwnClient::connect(options.address, text.clone());
    let turn = if options.churn {
        let mut callers = vec![(); options.connections];
        // Connecting makes a call, so that an address which is no such server is found out.
        drive(length, &mut callers, |()| connect().map(drop))?
    } else {
        let mut clients =
            (0..options.connections).map(|_| connect()).collect::<anyhow::Result<Vec<_>>>()?;
        drive(length, &mut clients, |client| {
            let echo = client.call()?;
            ensure!(echo == text, "not an echo: {echo:?}");
            Ok(())
        })?
    };
    let micros = |quantile| turn.latencies.value_at_quantile(quantile) as f64 / 1e3;
    let driven = Driven {
        calls: turn.calls,
        seconds: turn.elapsed.as_secs_f64(),
        p50_us: micros(0.5),
        p99_us: micros(0.99),
    };
    writeln!(io::stdout(), "{}", serde_json::to_string(&driven)?)?;
    Ok(())
}

/// A turn, after a tenth of its time that does not count.
fn drive<Caller: Send>(
    length: Duration,
    callers: &mut [Caller],
    call: impl Fn(&mut Caller) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<Turn> {
    let call = |caller: &mut Caller| call(caller).map(|()| 1);
    together(callers, length / 10, call)?;
    together(callers, length, call)
}
