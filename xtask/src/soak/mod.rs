//! `cargo xtask soak`: every model under good and bad load, with kills, reloads and limits reached.
//!
//! A good reply that is wrong, a failure that nothing explains, and anything that is left at the
//! end fail the run.
//!
//! - `model_run`: one model's server from start to stop.
//! - `actors`: what clients and injected faults do to it; `context`: what these share.
//! - `at_rest`: whether a server takes no more than before when all have gone.
//! - `figures`: what is told at the end.
//!
//! A single promise is tested in xtask/tests/it; here belongs what only shows when everything
//! happens at the same time.

mod actors;
mod at_rest;
mod context;
mod figures;
mod model_run;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::launch::guard;
use crate::launch::server_log::ServerLog;
use crate::log;
use crate::model::Model;
use crate::progress::Progress;
use model_run::ModelRun;

/// What warm-up, waits for the end of connections and the stop may take beside the load.
const TIME_BESIDE_THE_LOAD: Duration = Duration::from_secs(150);

/// The options of `soak`.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// How long the load lasts, all models together
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// What decides all choices of the clients; another one each time unless given
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Only these models
    #[arg(long, value_enum)]
    model: Vec<Model>,
    /// Servers of another build
    #[arg(long, value_name = "PATH", hide = true)]
    program: Option<PathBuf>,
    /// Make the server leak a descriptor, to see that this is noticed
    #[arg(long, hide = true)]
    leak: bool,
}

/// Soaks one model after the other and prints a line of figures for each. Blocks for the load, and
/// some 10 s more a model with threads, whose idle threads it waits for.
///
/// # Errors
///
/// When a model did not do what it should. The others are soaked nevertheless.
pub fn run(options: Options) -> anyhow::Result<()> {
    let load = Duration::from_secs(options.seconds);
    let models = if options.model.is_empty() { Model::ALL.to_vec() } else { options.model.clone() };
    guard::start("soak", load + TIME_BESIDE_THE_LOAD * models.len() as u32)?;
    // Short enough to be typed.
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    log::print(&format!("seed {seed}\n"))?;

    let progress = Progress::new();
    let mut failures = 0;
    for &model in &models {
        let line = progress.line(model, ModelRun::STEPS);
        let log = ServerLog::default();
        let run = ModelRun {
            model,
            options: &options,
            seed,
            load: load / models.len() as u32,
            line: &line,
            log: log.clone(),
        };
        match run.run().with_context(|| format!("{model}, --seed {seed}")) {
            Ok(figures) => {
                line.finish(true, String::new());
                log::print(&format!("{figures}\n"))?;
            }
            Err(error) => {
                failures += 1;
                line.finish(false, format!("{error:#}"));
                log.lines().iter().for_each(|line| log::say_aside(line));
            }
        }
    }
    progress.finish();
    match failures {
        0 => Ok(()),
        _ => bail!("{failures} of {} models did not do what they should", models.len()),
    }
}
