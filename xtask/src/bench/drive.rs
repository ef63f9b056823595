//! `xtask drive`: calls of the project's client for a while, as a program of its own.
//!
//! The programs in xtask/peers take the same arguments and print the same line, so that all clients
//! are started, timed and ended alike.

use std::io::{self, Write as _};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use nix::unistd::alarm;
use rpc_client::Client;
use rpc_proto::Address;
use serde::{Deserialize, Serialize};

use crate::methods::ECHO;

/// No call takes this long unless something hangs.
const LONGEST: Duration = Duration::from_secs(60);

/// The options of `drive`.
#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// HOST:PORT or unix:PATH of a server that offers echo
    address: Address,
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
pub struct Driven {
    /// How many calls were answered.
    pub calls: u64,
    /// How long that took.
    pub seconds: f64,
    /// The median time of a call, in microseconds.
    pub p50_us: f64,
    /// The time that one call in a hundred exceeded.
    pub p99_us: f64,
}

/// Calls and prints one line of JSON.
///
/// # Errors
///
/// When a call fails or answers another text, and when more than one call at a time is asked for.
pub fn run(options: Options) -> anyhow::Result<()> {
    let length = Duration::try_from_secs_f64(options.seconds).context("--seconds")?;
    ensure!(options.connections > 0, "--connections must be at least 1");
    ensure!(options.in_flight == 1, "one call at a time on a connection");
    // A call that hangs ends the program, so that a measurement fails and does not hang.
    let patience = length + LONGEST;
    alarm::set(u32::try_from(patience.as_secs()).context("--seconds")?);

    let mut callers = Vec::new();
    for _ in 0..options.connections {
        callers.push(Caller::new(&options)?);
    }
    call_together(length / 10, &mut callers)?;
    let driven = call_together(length, &mut callers)?;
    writeln!(io::stdout(), "{}", serde_json::to_string(&driven)?)?;
    Ok(())
}

struct Caller {
    address: Address,
    /// None where every call has a connection of its own.
    client: Option<Client>,
    text: String,
}

impl Caller {
    fn new(options: &Options) -> anyhow::Result<Caller> {
        let address = options.address.clone();
        let client = match options.churn {
            true => None,
            false => Some(Client::connect(&address)?),
        };
        let text = "ireader 0".chars().cycle().take(options.payload).collect();
        Ok(Caller {
            address,
            client,
            text,
        })
    }

    fn call(&mut self) -> anyhow::Result<()> {
        let echo = match &mut self.client {
            Some(client) => client.call(ECHO, &self.text)?,
            None => Client::connect(&self.address)?.call(ECHO, &self.text)?,
        };
        ensure!(echo == self.text, "not an echo: {echo:?}");
        Ok(())
    }

    /// Calls for at least `length`. Returns how long it took, and how long each call took.
    fn call_for(&mut self, length: Duration) -> anyhow::Result<(Duration, Histogram<u64>)> {
        let mut latencies = Histogram::new_with_max(LONGEST.as_nanos() as u64, 3)?;
        let start = Instant::now();
        let mut last = start;
        loop {
            self.call()?;
            let now = Instant::now();
            latencies.saturating_record(now.duration_since(last).as_nanos() as u64);
            last = now;
            let elapsed = now.duration_since(start);
            if elapsed >= length {
                return Ok((elapsed, latencies));
            }
        }
    }
}

fn call_together(length: Duration, callers: &mut [Caller]) -> anyhow::Result<Driven> {
    let all_are_there = Barrier::new(callers.len());
    let all_are_there = &all_are_there;
    let turns = thread::scope(|scope| {
        let threads: Vec<_> = callers
            .iter_mut()
            .map(|caller| {
                scope.spawn(move || {
                    all_are_there.wait();
                    caller.call_for(length)
                })
            })
            .collect();
        let turns = threads.into_iter();
        let turns = turns.map(|thread| thread.join().expect("a caller does not panic"));
        turns.collect::<anyhow::Result<Vec<_>>>()
    })?;

    let mut longest = Duration::ZERO;
    let mut all = Histogram::<u64>::new_with_max(LONGEST.as_nanos() as u64, 3)?;
    for (elapsed, latencies) in turns {
        longest = longest.max(elapsed);
        all.add(latencies)?;
    }
    Ok(Driven {
        calls: all.len(),
        seconds: longest.as_secs_f64(),
        p50_us: all.value_at_quantile(0.5) as f64 / 1e3,
        p99_us: all.value_at_quantile(0.99) as f64 / 1e3,
    })
}
