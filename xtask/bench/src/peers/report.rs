//! What was measured of the peers, as a table and as JSON.

use serde::Serialize;
use xtask::table;

use crate::comparison::load::Measure;
use crate::drivers::drive::Driven;
use crate::quartiles::{NOISE_LIMIT, Quartiles, number};

/// One library under one load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct PeerRow {
    /// How many connections the driver had.
    pub(crate) connections: usize,
    /// How many calls at a time on each.
    pub(crate) in_flight: usize,
    /// Whether every call had a connection of its own.
    pub(crate) churn: bool,
    /// The library.
    pub(crate) name: &'static str,
    /// What goes over the connection.
    pub(crate) wire: &'static str,
    /// None where the library's client cannot have so many calls in flight.
    pub(crate) figures: Option<PeerFigures>,
}

/// What the rounds say together: medians.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct PeerFigures {
    /// Calls a second.
    pub(crate) calls_per_second: f64,
    /// The median time of a call, in microseconds.
    pub(crate) p50_us: f64,
    /// The time that one call in a hundred exceeded.
    pub(crate) p99_us: f64,
    /// How fast it is as a share of the thread server of this project in the same round. None
    /// where that has no figures.
    pub(crate) share_of_ours: Option<Quartiles>,
}

impl PeerFigures {
    /// Of at least one turn, and of as many of `ours`. `measure` is what the share compares.
    pub(crate) fn of(turns: &[Driven], ours: Option<&[Driven]>, measure: Measure) -> PeerFigures {
        let rate = |turn: &Driven| turn.calls as f64 / turn.seconds;
        let speed = |turn: &Driven| match measure {
            Measure::Latency => 1e6 / turn.p50_us,
            // These clients do not wait for all calls in flight, so there are no round trips.
            Measure::Rate | Measure::RateOfRoundTrips { .. } => rate(turn),
        };
        let ratio = |(theirs, ours)| speed(theirs) / speed(ours);
        let median = |figure: &dyn Fn(&Driven) -> f64| {
            Quartiles::of(turns.iter().map(figure).collect()).median
        };
        PeerFigures {
            calls_per_second: median(&rate),
            p50_us: median(&|turn| turn.p50_us),
            p99_us: median(&|turn| turn.p99_us),
            share_of_ours: ours
                .map(|ours| Quartiles::of(turns.iter().zip(ours).map(ratio).collect())),
        }
    }
}

/// Everything that a run says.
#[derive(Debug, Serialize)]
pub(crate) struct PeerReport {
    /// How it was made.
    pub(crate) made: Vec<String>,
    pub(crate) rows: Vec<PeerRow>,
}

impl PeerReport {
    /// The rows as people read them; `-` is what a client cannot do.
    pub(crate) fn table(&self) -> String {
        let header =
            ["load", "library", "wire", "calls/s", "p50 µs", "p99 µs", "of ours", "quartiles", ""];
        let mut table = table::new(header, 3..8);
        table.add_rows(self.rows.iter().map(PeerRow::cells));
        format!("{table}\n{}\n", self.made.join("\n"))
    }
}

impl PeerRow {
    fn load(&self) -> String {
        let what = if self.churn { "churn" } else { "in flight" };
        format!("{} × {} {what}", self.connections, self.in_flight)
    }

    fn cells(&self) -> [String; 9] {
        let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let figures = self.figures;
        let share = figures.and_then(|figures| figures.share_of_ours);
        let is_noisy = share.is_some_and(|share| share.spread() > NOISE_LIMIT);
        [
            self.load(),
            self.name.to_owned(),
            self.wire.to_owned(),
            text(figures.map(|figures| format!("{:.0}", figures.calls_per_second))),
            text(figures.map(|figures| format!("{:.1}", figures.p50_us))),
            text(figures.map(|figures| format!("{:.1}", figures.p99_us))),
            text(share.map(|share| number(share.median))),
            text(share.map(Quartiles::range)),
            if is_noisy { "noisy" } else { "" }.to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(calls: &[u64]) -> Vec<Driven> {
        let turn = |&calls| Driven { calls, seconds: 2.0, p50_us: 1e3 / calls as f64, p99_us: 7.0 };
        calls.iter().map(turn).collect()
    }

    #[test]
    fn the_share_is_taken_round_by_round() {
        let (theirs, ours) = (turns(&[1, 20, 50]), turns(&[10, 100, 100]));
        for measure in [Measure::Rate, Measure::Latency] {
            let figures = PeerFigures::of(&theirs, Some(&ours), measure);
            let share = figures.share_of_ours.expect("there are turns of ours");
            for (found, expected) in [(share.low, 0.15), (share.median, 0.2), (share.high, 0.35)] {
                assert!((found - expected).abs() < 1e-9, "{share:?}");
            }
            assert_eq!((figures.calls_per_second, figures.p50_us), (10.0, 50.0));
        }
    }

    #[test]
    fn what_a_client_cannot_do_is_a_dash() {
        let row = |name, figures| PeerRow {
            connections: 1,
            in_flight: 16,
            churn: false,
            name,
            wire: "JSON",
            figures,
        };
        let measured = PeerFigures::of(&turns(&[4]), None, Measure::Rate);
        let report = PeerReport {
            made: Vec::new(),
            rows: vec![row("varlink", None), row("tarpc", Some(measured))],
        };
        let table = report.table();
        let cells = |name: &str| {
            let line = table.lines().find(|line| line.contains(name));
            let line = line.expect("every row is a line");
            let behind = line.split_once("JSON").expect("every row has its wire").1;
            behind.split_whitespace().collect::<Vec<_>>()
        };
        assert_eq!(cells("varlink"), ["-", "-", "-", "-", "-"]);
        assert_eq!(cells("tarpc"), ["2", "250.0", "7.0", "-", "-"]);
    }
}
