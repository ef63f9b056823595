//! Two servers in turns, round after round, and what the rounds say together.

use std::time::Duration;

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use xtask::launch::Server;

use crate::comparison::load::{Load, Measure};
use crate::comparison::report::{Figure, Row, Target, Verdict};
use crate::drivers::driver::{Churn, Connection, Driver, Turn};
use crate::exchange::Exchange;
use crate::quartiles::{NOISE_LIMIT, Quartiles};
use crate::settings::Settings;

/// A driver and the server that it calls.
pub(crate) struct Side {
    pub(crate) name: String,
    // Dropped before the server: a server stops sooner without connections.
    driver: Box<dyn Driver>,
    // Whatever has to live as long: the server, idle connections.
    _kept: Vec<Box<dyn Send>>,
}

impl Side {
    pub(crate) fn new(
        name: impl Into<String>,
        server: Server,
        driver: impl Driver + 'static,
    ) -> Side {
        Side { name: name.into(), driver: Box::new(driver), _kept: vec![Box::new(server)] }
    }

    /// The server under this load.
    pub(crate) fn under(
        load: Load,
        name: &str,
        server: Server,
        exchange: &Exchange,
    ) -> anyhow::Result<Side> {
        let address = server.socket_address()?;
        Ok(if load.churn {
            Side::new(name, server, Churn::new(address, exchange, load.connections)?)
        } else {
            let driver = Connection::open_all(address, exchange, load.connections, load.depth)?;
            Side::new(name, server, driver)
        })
    }

    /// Keeps `value` until the side is dropped, and drops it before the server.
    pub(crate) fn keep(&mut self, value: impl Send + 'static) {
        self._kept.insert(0, Box::new(value));
    }
}

/// One line of the table to be.
pub(crate) struct Comparison {
    pub(crate) subject: Side,
    pub(crate) against: Side,
    pub(crate) measure: Measure,
    pub(crate) target: Target,
}

impl Comparison {
    /// `settings.rounds` rounds of one turn each, after a warm-up. The ratio is taken round by
    /// round, so that what slows both down for a while cancels out.
    ///
    /// Each round has servers and connections of its own: where the kernel happens to put a
    /// process and its sockets makes a call up to a hundredth faster or slower for as long as they
    /// live, so rounds with the same ones would agree with each other and not with the next run.
    pub(crate) fn run(
        settings: &Settings,
        progress: &ProgressBar,
        mut begin: impl FnMut() -> anyhow::Result<Comparison>,
    ) -> anyhow::Result<Row> {
        let mut comparison = begin()?;
        let mut subject = Series::new(comparison.measure)?;
        let mut against = Series::new(comparison.measure)?;
        for round in 0..settings.rounds {
            if round > 0 {
                drop(comparison);
                comparison = begin()?;
            }
            for side in [&mut comparison.subject, &mut comparison.against] {
                side.driver.turn(settings.turn / 3)?;
            }
            subject.add(comparison.subject.driver.turn(settings.turn)?);
            against.add(comparison.against.driver.turn(settings.turn)?);
            progress.inc(1);
        }
        let ratios = subject.speeds.iter().zip(&against.speeds);
        let ratio = Quartiles::of(ratios.map(|(subject, against)| subject / against).collect());
        let figure = subject.figure();
        let verdict = match comparison.target {
            Target::None => Verdict::None,
            // An upper bound in absolute terms: noise can only make it worse.
            Target::Latency { at_most } => Verdict::reached(figure.latency() <= Some(at_most)),
            _ if against.is_noisy() || ratio.spread() > NOISE_LIMIT => Verdict::Noisy,
            Target::Ratio { at_least } => Verdict::reached(ratio.median >= at_least),
            Target::Bytes { .. } => Verdict::None,
        };
        Ok(Row {
            subject: comparison.subject.name,
            against: Some(comparison.against.name),
            figure,
            floor: Some(against.figure()),
            ratio: Some(ratio),
            target: comparison.target,
            verdict,
            note: None,
        })
    }
}

/// The turns of one side.
struct Series {
    measure: Measure,
    /// Larger is better: calls a second, or one over the median latency in seconds.
    speeds: Vec<f64>,
    latencies: Histogram<u64>,
}

impl Series {
    fn new(measure: Measure) -> anyhow::Result<Series> {
        let mut latencies = Histogram::new(3)?;
        latencies.auto(true);
        Ok(Series { measure, speeds: Vec::new(), latencies })
    }

    fn add(&mut self, turn: Turn) {
        let round_trip = turn.latencies.value_at_quantile(0.5).max(1) as f64 / 1e9;
        self.speeds.push(match self.measure {
            Measure::Latency => 1.0 / round_trip,
            Measure::RateOfRoundTrips { depth } => depth as f64 / round_trip,
            Measure::Rate => turn.calls as f64 / turn.elapsed.as_secs_f64(),
        });
        let _ = self.latencies.add(turn.latencies);
    }

    fn is_noisy(&self) -> bool {
        Quartiles::of(self.speeds.clone()).spread() > NOISE_LIMIT
    }

    fn figure(&self) -> Figure {
        let speed = Quartiles::of(self.speeds.clone()).median;
        match self.measure {
            Measure::Latency => Figure::Latency {
                median: Duration::from_nanos((1e9 / speed) as u64),
                p99: Duration::from_nanos(self.latencies.value_at_quantile(0.99)),
            },
            Measure::RateOfRoundTrips { .. } | Measure::Rate => Figure::Rate { per_second: speed },
        }
    }
}
