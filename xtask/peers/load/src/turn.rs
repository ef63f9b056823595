//! What came of calling for a while.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::Serialize;

/// No call takes this long unless something hangs.
const LONGEST: Duration = Duration::from_secs(60);

/// The calls of one caller, or of several together.
#[derive(Debug)]
pub struct Turn {
    calls: u64,
    elapsed: Duration,
    /// In nanoseconds, from before a call until after its result.
    latencies: Histogram<u64>,
}

#[derive(Serialize)]
struct Line {
    calls: u64,
    seconds: f64,
    p50_us: f64,
    p99_us: f64,
}

impl Turn {
    /// The turns of callers that ran at the same time.
    ///
    /// # Errors
    ///
    /// When a latency of one does not fit in the other.
    pub fn together(turns: impl IntoIterator<Item = Turn>) -> anyhow::Result<Turn> {
        let mut sum = Turn { calls: 0, elapsed: Duration::ZERO, latencies: histogram()? };
        for turn in turns {
            sum.calls += turn.calls;
            sum.elapsed = sum.elapsed.max(turn.elapsed);
            sum.latencies.add(turn.latencies)?;
        }
        Ok(sum)
    }

    /// Prints the line of JSON that `drive` promises.
    ///
    /// # Errors
    ///
    /// When nobody can read it.
    pub fn print(&self) -> anyhow::Result<()> {
        let micros = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1e3;
        let line = serde_json::to_string(&Line {
            calls: self.calls,
            seconds: self.elapsed.as_secs_f64(),
            p50_us: micros(0.5),
            p99_us: micros(0.99),
        })?;
        writeln!(io::stdout(), "{line}")?;
        Ok(())
    }
}

fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_max(LONGEST.as_nanos() as u64, 3)?)
}

/// Times one caller, call by call.
pub(crate) struct Stopwatch {
    start: Instant,
    last: Instant,
    length: Duration,
    calls: u64,
    latencies: Histogram<u64>,
}

impl Stopwatch {
    pub(crate) fn start(length: Duration) -> anyhow::Result<Stopwatch> {
        let latencies = histogram()?;
        let start = Instant::now();
        Ok(Stopwatch { start, last: start, length, calls: 0, latencies })
    }

    /// Counts a call, which began when the last one ended. Returns whether to go on.
    pub(crate) fn called(&mut self) -> bool {
        let now = Instant::now();
        let latency = now.duration_since(self.last).as_nanos() as u64;
        self.latencies.saturating_record(latency);
        self.calls += 1;
        self.last = now;
        now.duration_since(self.start) < self.length
    }

    pub(crate) fn stop(self) -> Turn {
        Turn {
            calls: self.calls,
            elapsed: self.last.duration_since(self.start),
            latencies: self.latencies,
        }
    }
}
