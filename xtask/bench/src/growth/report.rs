//! How the cost grows, as a table and as JSON.

use std::collections::BTreeMap;

use comfy_table::Table;
use serde::Serialize;
use xtask::table;

use crate::quartiles::Quartiles;

/// One model with one number of connections.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct GrowthRow {
    pub(crate) model: &'static str,
    pub(crate) connections: usize,
    /// None where the model or the machine cannot hold so many connections.
    pub(crate) figures: Option<GrowthFigures>,
    /// Why there are no figures.
    pub(crate) cannot: Option<String>,
}

/// What the rounds say together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct GrowthFigures {
    pub(crate) calls_per_second: Quartiles,
    /// Of all processes of the server together, in bytes.
    pub(crate) memory: Quartiles,
    /// One after the other, each with its first call.
    pub(crate) opened_per_second: Quartiles,
}

impl GrowthRow {
    pub(crate) fn new(
        model: &'static str,
        connections: usize,
        figures: Result<GrowthFigures, String>,
    ) -> GrowthRow {
        let cannot = figures.as_ref().err().cloned();
        GrowthRow { model, connections, figures: figures.ok(), cannot }
    }
}

/// Everything that a run says.
#[derive(Debug, Serialize)]
pub(crate) struct GrowthReport {
    /// How it was made.
    pub(crate) made: Vec<String>,
    pub(crate) rows: Vec<GrowthRow>,
}

impl GrowthReport {
    /// The rows as people read them: a table for each figure, and the reasons for what is missing.
    pub(crate) fn table(&self) -> String {
        let thousands =
            |rate: Quartiles| format!("{:.1} k ± {:.0} %", rate.median / 1e3, half_spread(rate));
        let calls = self.pivot("calls a second", |figures| thousands(figures.calls_per_second));
        let opened = self.pivot("opened a second", |figures| thousands(figures.opened_per_second));
        let memory = self.pivot("memory", |figures| {
            format!("{} ± {:.0} %", mebibytes(figures.memory.median), half_spread(figures.memory))
        });
        let mut reasons: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
        for row in &self.rows {
            if let Some(why) = &row.cannot {
                let connections = row.connections.to_string();
                reasons.entry((row.model, why)).or_default().push(connections);
            }
        }
        let reasons = reasons.into_iter().map(|((model, why), connections)| {
            format!("- {model} with {}: {why}", connections.join(", "))
        });
        let lines = [
            "± is half the distance of the quartiles. -: the model or the machine cannot.",
            "Calls a second: one thread writes a request on every connection, then reads every \
             reply. Memory: PSS of all",
            "processes of the server, after these calls. Opened: connections, one after the other, \
             each with a first call,",
            "on average from the first to the last. prefork has as many workers as connections.",
        ];
        let lines = reasons.chain(lines.map(str::to_owned)).chain(self.made.iter().cloned());
        format!("{calls}\n\n{memory}\n\n{opened}\n\n{}\n", lines.collect::<Vec<_>>().join("\n"))
    }

    /// A line a model and a column a number of connections.
    fn pivot(&self, title: &str, show: impl Fn(&GrowthFigures) -> String) -> Table {
        let mut columns: Vec<usize> = self.rows.iter().map(|row| row.connections).collect();
        columns.sort_unstable();
        columns.dedup();
        let mut models: Vec<&str> = Vec::new();
        for row in &self.rows {
            if !models.contains(&row.model) {
                models.push(row.model);
            }
        }
        let header = columns.iter().map(|&connections| match connections {
            1 => "1 connection".to_owned(),
            count => count.to_string(),
        });
        let mut table = table::new([title.to_owned()].into_iter().chain(header), 1..usize::MAX);
        for model in models {
            let cell = |&connections: &usize| {
                let is_this =
                    |row: &&GrowthRow| row.model == model && row.connections == connections;
                let figures = self.rows.iter().find(is_this).and_then(|row| row.figures.as_ref());
                figures.map_or("-".to_owned(), &show)
            };
            let cells = columns.iter().map(cell);
            table.add_row([model.to_owned()].into_iter().chain(cells));
        }
        table
    }
}

/// Half the distance of the quartiles in per cent of the median.
fn half_spread(quartiles: Quartiles) -> f64 {
    quartiles.spread() * 50.0
}

fn mebibytes(bytes: f64) -> String {
    match bytes / f64::from(1 << 20) {
        mebibytes if mebibytes < 100.0 => format!("{mebibytes:.1} MiB"),
        mebibytes => format!("{mebibytes:.0} MiB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(model: &'static str, connections: usize, calls: f64) -> GrowthRow {
        let same = |number| Quartiles { low: number, median: number, high: number };
        let memory = same(calls * 1024.0);
        let opened_per_second = same(1_500.0);
        let figures = GrowthFigures { calls_per_second: same(calls), memory, opened_per_second };
        GrowthRow::new(model, connections, Ok(figures))
    }

    #[test]
    fn the_table_says_what_cannot_be_and_why() {
        let why = "serves one connection at a time".to_owned();
        let rows = vec![
            row("single", 1, 2_048.0),
            row("thread", 1, 4_096.0),
            GrowthRow::new("single", 10, Err(why)),
            row("thread", 10, 512_000.0),
        ];
        let table = GrowthReport { made: vec!["today".to_owned()], rows }.table();
        let lines: Vec<Vec<&str>> =
            table.lines().map(|line| line.split_whitespace().collect()).collect();
        let expected: [&[&str]; 7] = [
            &["calls", "a", "second", "1", "connection", "10"],
            &["single", "2.0", "k", "±", "0", "%", "-"],
            &["single", "2.0", "MiB", "±", "0", "%", "-"],
            &["single", "1.5", "k", "±", "0", "%", "-"],
            &["thread", "4.0", "MiB", "±", "0", "%", "500", "MiB", "±", "0", "%"],
            &["-", "single", "with", "10:", "serves", "one", "connection", "at", "a", "time"],
            &["today"],
        ];
        for line in expected {
            assert!(lines.iter().any(|found| found == line), "{line:?} is not in\n{table}");
        }
    }
}
