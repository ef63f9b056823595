//! `cargo xtask fuzz`: hostile bytes by the thousand, against readings that are too plain to be
//! wrong.
//!
//! Every case is made from one number, its seed, and from nothing else; a run counts upwards from
//! `--seed`. So whatever is found is found again at once by the command that is printed with it.
//!
//! - `frames`, `requests`, `connection`: the three targets; a case each.
//! - `corpus`, `mutation`, `stream`: what is sent.
//! - `splitting`, `envelope`, `answers`: what must come of it, by a second, plain reading.
//! - `conversation`, `fleet`: sockets and servers.

mod answers;
mod connection;
mod conversation;
mod corpus;
mod envelope;
mod fleet;
mod frames;
mod mutation;
mod requests;
#[cfg(test)]
mod sabotage;
mod splitting;
mod stream;

use std::any::Any;
use std::fmt;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use clap::ValueEnum;

use fleet::Fleet;

/// Conversations at a time: enough to meet in a model that serves one by one, too few to keep
/// anybody waiting for long.
const CONVERSATIONS: usize = 4;

/// The servers are looked at so often.
const ROUNDS: u32 = 8;

/// The options of `fuzz`.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// How long to look, in seconds, for all targets together
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// The seed of the first case [default: a new one]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Try this target only
    #[arg(long, value_enum, value_name = "NAME")]
    target: Option<Target>,
}

/// What is fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Target {
    /// The frame reader
    Frames,
    /// The parser of requests and replies, against the fast way for usual spellings
    Requests,
    /// A server of every model
    Connection,
}

impl Target {
    const fn name(self) -> &'static str {
        match self {
            Target::Frames => "frames",
            Target::Requests => "requests",
            Target::Connection => "connection",
        }
    }

    /// Of five parts of the time, how many are for this one: sockets are slow.
    const fn share(self) -> u32 {
        match self {
            Target::Frames | Target::Requests => 1,
            Target::Connection => 3,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Tries one case after the other until the time is over.
///
/// Blocks for the given time, and a few seconds more for starting and stopping servers.
///
/// # Errors
///
/// What was found, at the first finding, with the command that finds it again.
pub fn run(options: Options) -> anyhow::Result<()> {
    // Short enough to be typed.
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..1_000_000_000));
    writeln!(io::stdout(), "seed {seed}")?;
    let time = Duration::from_secs(options.seconds);
    match options.target {
        Some(target) => run_target(target, seed, time),
        None => Target::value_variants()
            .iter()
            .try_for_each(|&target| run_target(target, seed, time * target.share() / 5)),
    }
}

fn run_target(target: Target, seed: u64, time: Duration) -> anyhow::Result<()> {
    let begun = Instant::now();
    let deadline = begun + time;
    let next = AtomicU64::new(seed);
    let mut fleet = None;
    match target {
        Target::Frames => run_until(deadline, &next, 1, target, frames::run)?,
        Target::Requests => run_until(deadline, &next, 1, target, requests::run)?,
        Target::Connection => {
            let fleet = fleet.insert(Fleet::start()?);
            for round in 1..=ROUNDS {
                let case = |seed| {
                    let (model, address) = fleet.address_for(seed);
                    connection::run(seed, address).with_context(|| format!("{model}"))
                };
                run_until(begun + time * round / ROUNDS, &next, CONVERSATIONS, target, case)?;
                fleet.check().with_context(|| {
                    let last = next.load(Ordering::Relaxed);
                    format!("found behind the cases of the seeds {seed} to {last}")
                })?;
            }
        }
    }
    let cases = next.load(Ordering::Relaxed).wrapping_sub(seed);
    let seconds = begun.elapsed().as_secs_f64();
    let each_second = cases as f64 / seconds;
    writeln!(
        io::stdout(),
        "{target:<10} {cases:>9} cases in {seconds:>5.1} s, {each_second:>8.0} a second"
    )?;
    match fleet {
        None => Ok(()),
        Some(mut fleet) => {
            fleet.report()?;
            fleet.stop()
        }
    }
}

/// Tries cases until `deadline`, at least one in each thread.
fn run_until(
    deadline: Instant,
    next: &AtomicU64,
    threads: usize,
    target: Target,
    case: impl Fn(u64) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let finding = Mutex::new(None);
    let found = || finding.lock().is_ok_and(|finding| finding.is_some());
    let try_cases = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if let Err(error) = try_case(seed, &case)
                && let Ok(mut finding) = finding.lock()
            {
                finding.get_or_insert((seed, error));
            }
            if found() || Instant::now() >= deadline {
                break;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(try_cases);
        }
    });
    match finding.into_inner() {
        Ok(None) => Ok(()),
        Ok(Some((seed, error))) => Err(error.context(format!(
            "found again by `cargo xtask fuzz --target {target} --seed {seed} --seconds 1`"
        ))),
        Err(_) => bail!("a thread of the driver has panicked"),
    }
}

/// A panic is a finding like any other.
fn try_case(seed: u64, case: &impl Fn(u64) -> anyhow::Result<()>) -> anyhow::Result<()> {
    catch_unwind(AssertUnwindSafe(|| case(seed)))
        .unwrap_or_else(|panic| Err(anyhow!("a panic: {}", panic_message(&*panic))))
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
