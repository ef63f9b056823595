//! `cargo xtask bench-peers`: the peers under the loads that differ most, or under one of choice.

use std::env;
use std::io::{self, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use super::peer_report::table;
use super::peers::{self, Plan};

/// Connections, calls in flight on each, and whether every call has a connection of its own.
const LOADS: [(usize, usize, bool); 4] =
    [(1, 1, false), (1, 16, false), (16, 1, false), (1, 1, true)];

/// The options of `bench-peers`.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Instead: so many connections
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// Instead: so many calls in flight on each connection
    #[arg(long, value_name = "N")]
    in_flight: Option<usize>,
    /// Instead: a new connection for every call
    #[arg(long, conflicts_with = "in_flight")]
    churn: bool,
    /// Characters in the text that is sent
    #[arg(long, value_name = "N", default_value_t = 9)]
    payload: usize,
    /// How often each has its turn
    #[arg(long, value_name = "N", default_value_t = 15)]
    rounds: usize,
    /// How long a turn takes
    #[arg(long, value_name = "SECONDS", default_value_t = 0.15)]
    seconds: f64,
    /// The processor on which everything runs [default: the last one]
    #[arg(long, value_name = "CPU")]
    pin: Option<usize>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Measures and prints.
///
/// # Errors
///
/// As [`peers::build`] and [`peers::run`].
pub fn run(options: Options) -> anyhow::Result<()> {
    let turn = Duration::try_from_secs_f64(options.seconds).context("--seconds")?;
    let has_own_load =
        options.connections.is_some() || options.in_flight.is_some() || options.churn;
    let own_load = [(
        options.connections.unwrap_or(1),
        options.in_flight.unwrap_or(1),
        options.churn,
    )];
    let loads = if has_own_load {
        own_load.as_slice()
    } else {
        &LOADS
    };
    let program = env::current_exe()?;
    let built = peers::build()?;
    // No ticker: a thread that draws would take time from what is measured.
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} {elapsed}")?;
    let progress = ProgressBar::new(0).with_style(style);
    let mut rows = Vec::new();
    for &(connections, in_flight, churn) in loads {
        let plan = Plan {
            connections,
            in_flight,
            churn,
            payload: options.payload,
            rounds: options.rounds,
            turn,
            pin: options.pin,
        };
        rows.extend(peers::run(&program, &built, &plan, &progress)?);
    }
    progress.finish_and_clear();
    let text = if options.json {
        serde_json::to_string_pretty(&rows)?
    } else {
        table(&rows)
    };
    writeln!(io::stdout(), "{text}")?;
    Ok(())
}
