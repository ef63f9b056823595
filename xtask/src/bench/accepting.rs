//! How the workers of one port should wait for connections: four ways in turns.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::ValueEnum as _;
use indicatif::ProgressBar;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Settings;
use super::accept_report::{AcceptReport, AcceptRow, StopRow};
use super::driver::{Churn, Driver as _, Turn};
use super::exchange::Exchange;
use super::raw_accept::Waiting;
use super::report::Quartiles;
use super::scratch::ScratchFile;
use super::server::Running;
use crate::model::Model;
use crate::proc;

/// How many workers there are.
const WORKERS: [usize; 2] = [4, 16];

/// How many connections are opened at a time, if nobody asks for another number: most workers are
/// idle, or all are busy.
const AT_A_TIME: [usize; 2] = [1, 16];

/// How long a worker may take to begin to wait, and to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Every way with every number of workers, with `at_a_time` or with the usual numbers of
/// connections, and the end of an idle worker.
pub(super) fn run(
    settings: &Settings,
    at_a_time: Option<usize>,
    made: Vec<String>,
    progress: &ProgressBar,
) -> anyhow::Result<AcceptReport> {
    let at_a_time = at_a_time.map_or(AT_A_TIME.to_vec(), |only| vec![only]);
    let measurements = WORKERS.len() * at_a_time.len() * Waiting::value_variants().len();
    progress.set_length((measurements * settings.rounds) as u64);
    let mut report = AcceptReport { made, rows: Vec::new(), stops: Vec::new() };
    for workers in WORKERS {
        for &connections in &at_a_time {
            report.rows.extend(compare(settings, workers, connections, progress)?);
        }
        report.stops.push(stop_of_idle_worker(settings, workers)?);
    }
    Ok(report)
}

/// Connect, one call, close, with `connections` at a time; every way has its turn in each round.
fn compare(
    settings: &Settings,
    workers: usize,
    connections: usize,
    progress: &ProgressBar,
) -> anyhow::Result<Vec<AcceptRow>> {
    let mut sides = Waiting::value_variants()
        .iter()
        .map(|&waiting| Side::start(settings, waiting, workers, connections))
        .collect::<anyhow::Result<Vec<_>>>()?;
    for side in &mut sides {
        side.driver.turn(settings.turn / 3)?;
    }
    for _ in 0..settings.rounds {
        for side in &mut sides {
            progress.set_message(format!("{}, {workers} workers", side.waiting.name()));
            let turn = side.driver.turn(settings.turn)?;
            side.turns.push(turn);
            progress.inc(1);
        }
    }
    let blocking: Vec<f64> = sides[0].turns.iter().map(rate).collect();
    sides.into_iter().map(|side| side.into_row(workers, connections, &blocking)).collect()
}

struct Side {
    waiting: Waiting,
    server: Running,
    driver: Churn,
    counts: ScratchFile,
    turns: Vec<Turn>,
}

impl Side {
    fn start(
        settings: &Settings,
        waiting: Waiting,
        workers: usize,
        connections: usize,
    ) -> anyhow::Result<Side> {
        let counts = ScratchFile::new(&format!("accept-{}-{workers}", waiting.name()));
        let server = Running::raw_accept(settings, waiting, workers, counts.path())?;
        let exchange = Exchange::new(settings.called, settings.payload);
        let driver = Churn::new(server.address()?, &exchange, connections)?;
        Ok(Side { waiting, server, driver, counts, turns: Vec::new() })
    }

    fn into_row(
        self,
        workers: usize,
        connections: usize,
        blocking: &[f64],
    ) -> anyhow::Result<AcceptRow> {
        let Side { waiting, server, counts, turns, .. } = self;
        // The workers tell what they counted when they end.
        drop(server);
        let counts = counts.read().context("no worker has told its counts")?;
        let counts = parse(&counts, workers)?;
        let rates: Vec<f64> = turns.iter().map(rate).collect();
        let shares = rates.iter().zip(blocking).map(|(rate, blocking)| rate / blocking).collect();
        let slow = turns.iter().map(|turn| turn.latencies.value_at_quantile(0.99) as f64 / 1e3);
        let accepted = || counts.iter().map(|worker| worker.connections);
        let all = accepted().sum::<u64>().max(1) as f64;
        let in_vain: u64 = counts.iter().map(|worker| worker.in_vain).sum();
        let wake_ups: u64 = counts.iter().map(|worker| worker.wake_ups).sum();
        Ok(AcceptRow {
            waiting: waiting.name(),
            workers,
            connections_at_a_time: connections,
            connections_per_second: Quartiles::of(rates),
            share_of_blocking: Quartiles::of(shares),
            p99_us: Quartiles::of(slow.collect()).median,
            most_used: accepted().max().unwrap_or_default(),
            least_used: accepted().min().unwrap_or_default(),
            in_vain: in_vain as f64 / all,
            wake_ups: wake_ups as f64 / all,
        })
    }
}

fn rate(turn: &Turn) -> f64 {
    turn.calls as f64 / turn.elapsed.as_secs_f64()
}

/// What one worker came to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct WorkerCounts {
    connections: u64,
    in_vain: u64,
    wake_ups: u64,
}

/// A line a worker.
fn parse(text: &str, workers: usize) -> anyhow::Result<Vec<WorkerCounts>> {
    let counts = text
        .lines()
        .map(|line| {
            let numbers: Result<Vec<u64>, _> = line.split(' ').map(str::parse).collect();
            match numbers.as_deref() {
                Ok(&[connections, in_vain, wake_ups]) => {
                    Ok(WorkerCounts { connections, in_vain, wake_ups })
                }
                _ => anyhow::bail!("these are no counts: {line:?}"),
            }
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(counts.len() == workers, "{} of {workers} workers have told", counts.len());
    Ok(counts)
}

/// How long an idle worker of the real prefork server, which blocks in accept(2), takes to end
/// after SIGTERM. The bare workers say nothing about that: in them another thread takes the signal.
fn stop_of_idle_worker(settings: &Settings, workers: usize) -> anyhow::Result<StopRow> {
    let mut times = Vec::new();
    for _ in 0..settings.rounds {
        let server = Running::ours(settings, Model::Prefork, workers, &[])?;
        let is_idle = |&pid: &i32| proc::stat(pid).is_ok_and(|stat| stat.state == 'S');
        let all_idle = || {
            let pids = proc::children(server.pid());
            (pids.len() == workers && pids.iter().all(is_idle)).then_some(pids)
        };
        let pid = wait_for(all_idle).context("the workers do not come to rest")?[0];
        let start = Instant::now();
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        wait_for(|| (!proc::is_alive(pid)).then_some(())).context("the worker does not end")?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(StopRow { workers, milliseconds: Quartiles::of(times) })
}

/// No event tells what another's child does, so look again and again.
fn wait_for<Found>(look: impl Fn() -> Option<Found>) -> anyhow::Result<Found> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        ensure!(Instant::now() < deadline, "not within {PATIENCE:?}");
        thread::yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_worker_must_have_told_its_counts() -> anyhow::Result<()> {
        let two = "3 0 9\n4 1 12\n";
        let first = WorkerCounts { connections: 3, in_vain: 0, wake_ups: 9 };
        let second = WorkerCounts { connections: 4, in_vain: 1, wake_ups: 12 };
        assert_eq!(parse(two, 2)?, [first, second]);
        for (text, workers) in [(two, 3), ("3 0\n", 1), ("3 0 9 1\n", 1), ("a b c\n", 1)] {
            assert!(parse(text, workers).is_err(), "{text:?}");
        }
        Ok(())
    }
}
