//! `cargo xtask demo`: every model as a real process, and what differs between them, measured.
//!
//! - `model_run`: one model's way through the steps; `expectation`: what each must show in each model.
//! - `steps`: what is measured; `report`: what the user gets to see.
//!
//! What needs more than the minute that a newcomer has belongs into the bench or the soak.

mod expectation;
mod model_run;
mod report;
mod steps;

use std::time::Instant;

use anyhow::bail;
use procfs::{Current as _, LoadAverage};

use crate::launch::guard;
use crate::log;
use crate::model::Model;
use crate::progress::Progress;
use report::{Circumstances, Report, table};
use steps::plan::{self, Plan};

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
    let models = Model::ALL.iter().map(|&model| model_run::run(model, &plan, &progress)).collect();
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
