//! What was measured of the peers, as a table and as JSON.

use comfy_table::{CellAlignment, Table, TableComponent, presets};
use serde::Serialize;

use super::drive::Driven;

/// One library under one load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerRow {
    /// How many connections the driver had.
    pub connections: usize,
    /// How many calls at a time on each.
    pub in_flight: usize,
    /// Whether every call had a connection of its own.
    pub churn: bool,
    /// The library.
    pub name: &'static str,
    /// What goes over the connection.
    pub wire: &'static str,
    /// None where the library's client cannot have so many calls in flight.
    pub figures: Option<PeerFigures>,
}

/// What the rounds say together: medians.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PeerFigures {
    /// Calls a second.
    pub calls_per_second: f64,
    /// The median time of a call, in microseconds.
    pub p50_us: f64,
    /// The time that one call in a hundred exceeded.
    pub p99_us: f64,
    /// How fast it is as a share of the thread server of this project in the same round. None
    /// where that has no figures.
    pub share_of_ours: Option<Share>,
}

/// A ratio, taken round by round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// A quarter of the rounds is below.
    pub low: f64,
    /// The middle of the rounds.
    pub median: f64,
    /// A quarter of the rounds is above.
    pub high: f64,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speed {
    /// One over the median time of a call.
    Median,
    /// Calls a second.
    Rate,
}

impl Speed {
    fn of(self, turn: &Driven) -> f64 {
        match self {
            Speed::Median => 1e6 / turn.p50_us,
            Speed::Rate => turn.calls as f64 / turn.seconds,
        }
    }
}

impl PeerFigures {
    /// Of at least one turn, and of as many of `ours`.
    pub(super) fn of(turns: &[Driven], ours: Option<&[Driven]>, speed: Speed) -> PeerFigures {
        let share_of_ours = ours.map(|ours| {
            let pairs = turns.iter().zip(ours);
            let shares = sorted(pairs.map(|(theirs, ours)| speed.of(theirs) / speed.of(ours)));
            Share {
                low: at(&shares, 0.25),
                median: at(&shares, 0.5),
                high: at(&shares, 0.75),
            }
        });
        let median = |figure: fn(&Driven) -> f64| at(&sorted(turns.iter().map(figure)), 0.5);
        PeerFigures {
            calls_per_second: median(|turn| Speed::Rate.of(turn)),
            p50_us: median(|turn| turn.p50_us),
            p99_us: median(|turn| turn.p99_us),
            share_of_ours,
        }
    }
}

fn sorted(series: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut series: Vec<_> = series.collect();
    series.sort_by(f64::total_cmp);
    series
}

/// Where `share` of a sorted series is below; between two numbers, in proportion.
fn at(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let (below, above) = (position.floor() as usize, position.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * position.fract()
}

/// The rows as people read them; `-` is what a client cannot do.
pub fn table(rows: &[PeerRow]) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_style(TableComponent::HeaderLines, '─')
        .set_header([
            "load",
            "library",
            "wire",
            "calls/s",
            "p50 µs",
            "p99 µs",
            "of ours",
            "quartiles",
        ]);
    for row in rows {
        let figures = row.figures;
        let text = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let share = figures.and_then(|figures| figures.share_of_ours);
        table.add_row([
            row.load(),
            row.name.to_owned(),
            row.wire.to_owned(),
            text(figures.map(|figures| format!("{:.0}", figures.calls_per_second))),
            text(figures.map(|figures| format!("{:.1}", figures.p50_us))),
            text(figures.map(|figures| format!("{:.1}", figures.p99_us))),
            text(share.map(|share| format!("{:.2}", share.median))),
            text(share.map(|share| format!("{:.2}–{:.2}", share.low, share.high))),
        ]);
    }
    for (position, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if position >= 3 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

impl PeerRow {
    fn load(&self) -> String {
        let what = if self.churn { "churn" } else { "in flight" };
        format!("{} × {} {what}", self.connections, self.in_flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(calls: &[u64]) -> Vec<Driven> {
        let turn = |&calls| Driven {
            calls,
            seconds: 2.0,
            p50_us: 1e3 / calls as f64,
            p99_us: 7.0,
        };
        calls.iter().map(turn).collect()
    }

    #[test]
    fn the_share_is_taken_round_by_round() {
        let (theirs, ours) = (turns(&[1, 20, 50]), turns(&[10, 100, 100]));
        for speed in [Speed::Rate, Speed::Median] {
            let figures = PeerFigures::of(&theirs, Some(&ours), speed);
            let share = figures.share_of_ours.expect("there are turns of ours");
            for (found, expected) in [(share.low, 0.15), (share.median, 0.2), (share.high, 0.35)] {
                assert!((found - expected).abs() < 1e-9, "{speed:?}: {share:?}");
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
        let measured = PeerFigures::of(&turns(&[4]), None, Speed::Rate);
        let table = table(&[row("varlink", None), row("tarpc", Some(measured))]);
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
