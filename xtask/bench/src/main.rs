//! `cargo xtask bench`: what a call costs, against servers that do nothing but answer.
//!
//! Servers run as real processes, on the same processor as the threads that call them, so that the
//! result does not depend on where the scheduler puts them. Two are compared in turns of a
//! fraction of a second, several rounds long; what counts is the median of the rounds' ratios.
//! Nothing here decides by absolute figures what belongs to the machine.

#![forbid(unsafe_code)]

mod comparison;
mod counts;
mod drivers;
mod exchange;
mod growth;
mod machine;
mod peers;
mod quartiles;
mod servers;
mod settings;

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use xtask::model::Model;

use comparison::cases::{self, Case, Step};
use comparison::load::Load;
use comparison::report::{CaseRow, Report, Target};
use counts::{instructions, system_calls};
use drivers::{client, drive};
use exchange::Called;
use peers::report::PeerReport;
use servers::{raw_echo, seed_server};
use settings::Settings;

#[derive(Parser)]
#[command(
    bin_name = "cargo xtask bench",
    about = "Measure the models against bare servers that parse nothing",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    role: Option<Role>,
}

/// What this program is when it measures as a process of its own, or is measured.
#[derive(Subcommand)]
enum Role {
    /// As `xtask serve`
    #[command(hide = true)]
    Serve(Box<xtask::serve::Options>),
    /// A bare server to compare with
    #[command(hide = true)]
    RawEcho(raw_echo::Options),
    /// Calls of the project's client, to count system calls
    #[command(hide = true)]
    Client(client::Options),
    /// Calls of the project's client for a while, for --peers
    #[command(hide = true)]
    Drive(drive::Options),
}

/// The options of `bench`.
#[derive(clap::Args, Debug)]
struct Options {
    /// Only these cases, of those that run without arguments
    #[arg(long = "case", value_enum, value_name = "NAME")]
    cases: Vec<Case>,
    /// Instead: so many connections, each with a thread of its own in the driver. With --growth:
    /// at most so many
    #[arg(long, value_name = "N", conflicts_with = "cases")]
    connections: Option<usize>,
    /// Instead: so many calls in flight on each connection, sent in one write
    #[arg(long, value_name = "N", conflicts_with = "cases")]
    depth: Option<usize>,
    /// Instead: a new connection for every call
    #[arg(long, conflicts_with_all = ["cases", "depth"])]
    churn: bool,
    /// Instead: this model; may be given several times [default with the three above: all]
    #[arg(long = "model", value_enum, value_name = "MODEL", conflicts_with = "cases")]
    models: Vec<Model>,
    /// Characters in the text that is sent
    #[arg(long, value_name = "N", default_value_t = 9)]
    payload: usize,
    /// The method that is called
    #[arg(long, value_enum, default_value = "echo")]
    method: Called,
    /// Worker processes of prefork and prefork-thread, where the case does not need more
    #[arg(long, value_name = "N", default_value_t = 4)]
    workers: usize,
    /// How often each side has its turn [default: 9]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// How long a turn takes [default: 0.15]
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
    /// A run that is too short to believe, to see that everything works
    #[arg(long)]
    quick: bool,
    /// The processor on which everything runs [default: the last one]
    #[arg(long, value_name = "CPU")]
    pin: Option<usize>,
    /// Let the scheduler place servers and driver
    #[arg(long, conflicts_with = "pin")]
    no_pin: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Instead: count the server's instructions a call with valgrind, and fail if they grew
    #[arg(long, conflicts_with_all = ["cases", "connections", "depth", "churn", "models"])]
    instructions: bool,
    /// Instead: count system calls a call with strace, and fail if there are more than two
    #[arg(long, conflicts_with_all = ["cases", "connections", "depth", "churn", "models"])]
    syscalls: bool,
    /// Instead: thread beside other RPC libraries, each with its own client; builds xtask/peers,
    /// which downloads and takes minutes the first time
    #[arg(long, conflicts_with_all = ["cases", "models", "method", "instructions", "syscalls"])]
    peers: bool,
    /// Instead: calls a second and memory of the models with 1, 10, 100, 1,000 and 10,000 open
    /// connections, and how fast these open; --connections sets how many there are at most
    #[arg(long, conflicts_with_all = ["cases", "depth", "churn", "instructions", "syscalls", "peers"])]
    growth: bool,
    /// With --growth: draw growth-calls.svg and growth-memory.svg in this directory
    #[arg(long, value_name = "DIRECTORY", requires = "growth")]
    svg: Option<PathBuf>,
}

fn main() -> ExitCode {
    let Arguments { options, role } = Arguments::parse();
    let done = match role {
        None => run(options),
        Some(Role::Serve(options)) => xtask::serve::run(*options),
        Some(Role::RawEcho(options)) => raw_echo::run(options),
        Some(Role::Client(options)) => client::run(options),
        Some(Role::Drive(options)) => drive::run(options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            xtask::log::say_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Measures and prints.
///
/// # Errors
///
/// When a server does not start or answers wrongly, or a count is above its limit. A target that
/// was not reached is a line in the table and not an error.
fn run(options: Options) -> anyhow::Result<()> {
    let seconds = options.seconds.unwrap_or(if options.quick { 0.01 } else { 0.15 });
    let turn = Duration::try_from_secs_f64(seconds).context("--seconds")?;
    let rounds = options.rounds.unwrap_or(if options.quick { 2 } else { 9 });
    ensure!(rounds > 0, "--rounds must be at least 1");
    ensure!(options.connections != Some(0), "--connections must be at least 1");
    ensure!(options.depth != Some(0), "--depth must be at least 1");
    let settings = Settings {
        program: env::current_exe()?,
        called: options.method,
        payload: options.payload,
        workers: options.workers,
        rounds,
        turn,
        idle: if options.quick { 50 } else { 1_000 },
        crowd: if options.quick { 100 } else { 10_000 },
        file_limit: machine::raise_file_limit()?,
    };
    // Before this process is bound to one processor, since cargo can use them all.
    let peers = options.peers.then(peers::measure::build).transpose()?;
    let made = how_it_was_made(&options, &settings)?;
    if let Some(built) = peers {
        return run_peers(&options, &settings, made, &built);
    }
    if options.instructions || options.syscalls {
        if options.instructions {
            instructions::run(&settings)?;
        }
        if options.syscalls {
            system_calls::run(&settings)?;
        }
        return Ok(());
    }

    if options.growth {
        let most = options.connections.unwrap_or(if options.quick { 10 } else { usize::MAX });
        let progress = progress_bar(0)?;
        let report = growth::measure::run(&settings, &models(&options), most, made, &progress)?;
        progress.finish_and_clear();
        print(options.json, &report, || report.table())?;
        return options
            .svg
            .map_or(Ok(()), |directory| growth::chart::draw(&report.rows, &directory));
    }
    let (steps, missing) = steps(&options, &settings);
    let progress = progress_bar((steps.len() * rounds) as u64)?;
    let mut report = Report { made, rows: Vec::new(), missing };
    for (case, step) in steps {
        progress.set_message(case.clone());
        let row = step(&settings, &progress).with_context(|| format!("the case {case} failed"))?;
        report.rows.push(CaseRow { case, row });
    }
    progress.finish_and_clear();
    print(options.json, &report, || report.table())
}

fn run_peers(
    options: &Options,
    settings: &Settings,
    made: Vec<String>,
    built: &Path,
) -> anyhow::Result<()> {
    let loads = match own_load(options, settings) {
        Some(load) => vec![load],
        None => {
            let load = Load::of(settings);
            vec![load, load.depth(16), load.connections(16), load.churn()]
        }
    };
    let progress = progress_bar(0)?;
    let mut report = PeerReport { made, rows: Vec::new() };
    for load in loads {
        report.rows.extend(peers::measure::run(load, settings, built, &progress)?);
    }
    progress.finish_and_clear();
    print(options.json, &report, || report.table())
}

/// Prints a report as JSON or as its table.
fn print(as_json: bool, report: &impl Serialize, table: impl Fn() -> String) -> anyhow::Result<()> {
    let text = if as_json { serde_json::to_string_pretty(report)? + "\n" } else { table() };
    io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

/// The load that was asked for instead of the usual ones.
fn own_load(options: &Options, settings: &Settings) -> Option<Load> {
    let is_given = options.connections.is_some() || options.depth.is_some() || options.churn;
    is_given.then(|| Load {
        connections: options.connections.unwrap_or(1),
        depth: options.depth.unwrap_or(1),
        payload: settings.payload,
        churn: options.churn,
    })
}

/// The lines of the table to be, and what cannot be had.
fn steps(options: &Options, settings: &Settings) -> (Vec<(String, Step)>, Vec<String>) {
    let own_load = own_load(options, settings);
    if own_load.is_some() || !options.models.is_empty() {
        let load = own_load.unwrap_or(Load::of(settings));
        return (custom_steps(options, load), Vec::new());
    }
    let mut cases = options.cases.clone();
    if cases.is_empty() {
        cases = Case::value_variants().to_vec();
    }
    let mut missing = Vec::new();
    if !seed_server::python_is_there() {
        cases.retain(|case| {
            if case.needs_python() {
                missing.push(format!("{}: there is no python3 to run", case.name()));
            }
            !case.needs_python()
        });
    }
    let steps = cases.into_iter().flat_map(|case| {
        let steps = case.steps(settings).into_iter();
        steps.map(move |step| (case.name(), step))
    });
    (steps.collect(), missing)
}

/// Those that were asked for, or all.
fn models(options: &Options) -> Vec<Model> {
    if options.models.is_empty() { Model::ALL.to_vec() } else { options.models.clone() }
}

fn custom_steps(options: &Options, load: Load) -> Vec<(String, Step)> {
    // Single serves one connection at a time: the others would wait forever.
    let possible = |model: &Model| *model != Model::Single || load.connections == 1 || load.churn;
    let step = |model| {
        let begin = move |settings: &_| cases::comparison(settings, model, load, Target::None);
        ("custom".to_owned(), cases::compare(begin))
    };
    models(options).into_iter().filter(possible).map(step).collect()
}

/// Pins, and says under which circumstances everything ran.
fn how_it_was_made(options: &Options, settings: &Settings) -> anyhow::Result<Vec<String>> {
    // Before the first server is started: processes and threads inherit it.
    let place = if options.no_pin {
        "servers and driver wherever the scheduler put them".to_owned()
    } else {
        let cpu = machine::pin(options.pin)?;
        format!("servers and driver on processor {cpu}")
    };
    let servers = if options.peers { "" } else { ", each with new servers" };
    let mut made = vec![format!(
        "{} rounds of {} s each in turns{servers}, {place}; method {}, {} characters.",
        settings.rounds,
        settings.turn.as_secs_f64(),
        settings.called.method(),
        settings.payload,
    )];
    if !options.growth {
        made.extend(
            [
                "Figures are medians of the rounds: the time of a call, calls a second, or memory. \
                 A ratio is speed over speed;",
                "the median of the rounds' ratios decides. `noisy`: quartiles lie more than 15 % \
                 apart, nothing can be said.",
            ]
            .map(str::to_owned),
        );
    }
    made.push(machine::description()?);
    if cfg!(debug_assertions) {
        made.push("A DEBUG BUILD: THESE FIGURES SAY NOTHING ABOUT SPEED".to_owned());
    }
    Ok(made)
}

fn progress_bar(len: u64) -> anyhow::Result<ProgressBar> {
    // No ticker: a thread that draws would take time from what is measured.
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} {elapsed}")?;
    Ok(ProgressBar::new(len).with_style(style))
}
