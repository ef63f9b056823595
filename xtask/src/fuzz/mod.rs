//! `cargo xtask fuzz`: hostile streams by the thousand for a server of every model, against a
//! reading of docs/wire.md that is too plain to be wrong.
//!
//! The frame reader and the parser by themselves are tried by the properties of `rpc-proto`.
//!
//! Every case is made from one number, its seed, and from nothing else; a run counts upwards from
//! `--seed`. So whatever is found is found again at once by the command that is printed with it.
//!
//! - `connection`: a case.
//! - `input`: what is sent; `oracle`: what must come of it.
//! - `conversation`, `servers`: the sockets and the processes.
//!
//! Load, kills and reloads belong into the soak, which sends good requests and knows what may fail.

mod connection;
mod conversation;
mod input;
mod oracle;
mod servers;

use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use servers::Servers;

/// Conversations at a time: enough to meet in a model that serves one by one, too few to keep
/// anybody waiting for long.
const CONVERSATIONS: usize = 4;

/// The servers are looked at so often.
const ROUNDS: u32 = 8;

/// The options of `fuzz`.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// How long to look, in seconds
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// The seed of the first case [default: a new one]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
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
    let mut out = io::stdout();
    writeln!(out, "seed {seed}")?;
    let time = Duration::from_secs(options.seconds);
    let next = AtomicU64::new(seed);
    let mut servers = Servers::start()?;
    let begun = Instant::now();
    for round in 1..=ROUNDS {
        run_until(begun + time * round / ROUNDS, &next, &servers)?;
        servers.check().with_context(|| {
            let last = next.load(Ordering::Relaxed);
            format!("found behind the cases of the seeds {seed} to {last}")
        })?;
    }
    let cases = next.load(Ordering::Relaxed).wrapping_sub(seed);
    let seconds = begun.elapsed().as_secs_f64();
    let each_second = cases as f64 / seconds;
    writeln!(out, "{cases} streams in {seconds:.1} s, {each_second:.0} a second")?;
    servers.report()?;
    servers.stop()
}

/// Tries cases until `deadline`, at least one in each thread.
fn run_until(deadline: Instant, next: &AtomicU64, servers: &Servers) -> anyhow::Result<()> {
    let finding = Mutex::new(None);
    let found = || finding.lock().is_ok_and(|finding| finding.is_some());
    let try_cases = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let (model, address) = servers.address_for(seed);
            if let Err(error) = connection::run(seed, address).with_context(|| model.to_string())
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
        for _ in 0..CONVERSATIONS {
            scope.spawn(try_cases);
        }
    });
    match finding.into_inner() {
        Ok(None) => Ok(()),
        Ok(Some((seed, error))) => {
            Err(error
                .context(format!("found again by `cargo xtask fuzz --seed {seed} --seconds 1`")))
        }
        Err(_) => bail!("a thread of the driver has panicked"),
    }
}
