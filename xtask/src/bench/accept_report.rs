//! What the ways to wait for connections came to, as a table and as JSON.

use comfy_table::{CellAlignment, Table, TableComponent, presets};
use serde::Serialize;

use super::report::{Quartiles, number};

/// One way to wait with one number of workers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct AcceptRow {
    pub(super) waiting: &'static str,
    pub(super) workers: usize,
    pub(super) connections_at_a_time: usize,
    pub(super) connections_per_second: Quartiles,
    /// As a share of the blocking accept in the same round.
    pub(super) share_of_blocking: Quartiles,
    /// The time that one connection in a hundred exceeded, in microseconds.
    pub(super) p99_us: f64,
    /// Connections of the worker that served most, and of the one that served least.
    pub(super) most_used: u64,
    pub(super) least_used: u64,
    /// Wake-ups after which there was no connection (EAGAIN), a connection.
    pub(super) in_vain: f64,
    /// How often workers were woken, a connection, counted by the kernel as voluntary context
    /// switches: for the connection, for its bytes, and for nothing. A worker that finds nothing
    /// within poll(2) or accept(2) sleeps again there and has no EAGAIN to count.
    pub(super) wake_ups: f64,
}

/// The end of an idle worker of the real server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct StopRow {
    pub(super) workers: usize,
    /// From SIGTERM until the process is gone.
    pub(super) milliseconds: Quartiles,
}

/// Everything that a run says.
#[derive(Debug, Serialize)]
pub(super) struct AcceptReport {
    /// How it was made.
    pub(super) made: Vec<String>,
    pub(super) rows: Vec<AcceptRow>,
    pub(super) stops: Vec<StopRow>,
}

impl AcceptReport {
    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_style(TableComponent::HeaderLines, '─').set_header(
            [
                "workers",
                "waiting",
                "at a time",
                "conn./s",
                "of blocking",
                "quartiles",
                "p99 µs",
                "most/least",
                "wake-ups",
                "EAGAIN",
            ],
        );
        for row in &self.rows {
            table.add_row([
                row.workers.to_string(),
                row.waiting.to_owned(),
                row.connections_at_a_time.to_string(),
                format!("{:.0}", row.connections_per_second.median),
                number(row.share_of_blocking.median),
                row.share_of_blocking.range(),
                format!("{:.0}", row.p99_us),
                fairness(row.most_used, row.least_used),
                format!("{:.2}", row.wake_ups),
                format!("{:.2}", row.in_vain),
            ]);
        }
        for (position, column) in table.column_iter_mut().enumerate() {
            if position != 1 {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let stops = self.stops.iter().map(|stop| {
            let time = stop.milliseconds;
            format!(
                "An idle worker of `serve prefork --workers {}` is gone {:.2} ms after SIGTERM ({}).",
                stop.workers,
                time.median,
                time.range(),
            )
        });
        let explanation = [
            "A connection is connect, one call, close. most/least: connections of the most used and \
             of the least used worker.",
            "wake-ups: voluntary context switches of the workers; EAGAIN: wake-ups after which accept \
             had none; both a connection.",
        ];
        let lines = stops
            .chain(explanation.map(str::to_owned))
            .chain(self.made.iter().cloned())
            .collect::<Vec<_>>();
        format!("{table}\n{}\n", lines.join("\n"))
    }
}

/// `1.25`, or both numbers where the least used worker served nobody.
fn fairness(most: u64, least: u64) -> String {
    match least {
        0 => format!("{most} : 0"),
        least => format!("{:.2}", most as f64 / least as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_served_nobody_is_shown_and_not_divided_by() {
        let cases = [(5, 4, "1.25"), (7, 7, "1.00"), (9, 0, "9 : 0"), (0, 0, "0 : 0")];
        for (most, least, expected) in cases {
            assert_eq!(fairness(most, least), expected);
        }
    }
}
