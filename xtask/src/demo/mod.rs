//! `cargo xtask demo`: every model as a real process, and what differs between them, measured.
//!
//! Each file but these is one step, with the figures that it finds:
//!
//! - `plan`: how long and how often; `expectation`: what each step must show in each model.
//! - `stage`: one model's way through the steps; `server` and `processes`: the processes.
//! - `report`, `rows`, `table`, `sentence`: what the user gets to see.

mod client;
mod cores;
mod expectation;
mod faults;
mod idle;
mod late;
mod load;
mod plan;
mod report;
mod rows;
mod second_client;
mod sentence;
mod session;
mod stage;
mod step;
mod stop;
mod table;

use std::time::Instant;

use anyhow::bail;
use procfs::{Current as _, LoadAverage};

use crate::guard;
use crate::log;
use crate::model::Model;
use crate::progress::Progress;
use plan::Plan;
use report::{Circumstances, Report};

/// The options of `demo`.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// Print all figures and outcomes as one JSON document instead of the table
    #[arg(long)]
    json: bool,
    /// Measure for a shorter time, for tests
    #[arg(long, hide = true)]
    quick: bool,
}

/// Shows every model and prints the figures. Blocks for at most a minute.
///
/// # Errors
///
/// When a step did not do what it should; the figures are printed nevertheless.
pub fn run(options: Options) -> anyhow::Result<()> {
    let begun = Instant::now();
    guard::start("demo", plan::TIME_LIMIT)?;
    let plan = if options.quick { Plan::quick() } else { Plan::full() };
    let load_before = LoadAverage::current().ok().map(|average| average.one);
    let progress = Progress::new();
    let models = Model::ALL.iter().map(|&model| stage::play(model, &plan, &progress)).collect();
    progress.finish();

    let report = Report::new(models, Circumstances::of(&plan, load_before, begun.elapsed()));
    let text = if options.json {
        format!("{}\n", serde_json::to_string_pretty(&report)?)
    } else {
        table::render(&report, table::terminal_width())
    };
    log::print(&text)?;
    match report.failed_steps() {
        0 => Ok(()),
        count => bail!("{count} of the demo's steps did not do what they should"),
    }
}
