//! What was measured, as a table and as JSON.

use std::fmt;
use std::time::Duration;

use comfy_table::ContentArrangement;
use serde::{Serialize, Serializer};
use xtask::table;

use crate::quartiles::{Quartiles, number};

/// Columns that a terminal surely has.
const WIDTH: u16 = 120;

/// One line of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) subject: String,
    pub(crate) against: Option<String>,
    pub(crate) figure: Figure,
    pub(crate) floor: Option<Figure>,
    pub(crate) ratio: Option<Quartiles>,
    pub(crate) target: Target,
    pub(crate) verdict: Verdict,
    pub(crate) note: Option<String>,
}

impl Row {
    /// A server that nothing is compared with.
    pub(crate) fn alone(subject: String, figure: Figure, target: Target, reached: bool) -> Row {
        Row {
            subject,
            against: None,
            figure,
            floor: None,
            ratio: None,
            target,
            verdict: Verdict::reached(reached),
            note: None,
        }
    }
}

/// What one side came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    Latency {
        #[serde(rename = "median_ns", serialize_with = "as_nanos")]
        median: Duration,
        #[serde(rename = "p99_ns", serialize_with = "as_nanos")]
        p99: Duration,
    },
    Rate {
        per_second: f64,
    },
    Memory {
        bytes: u64,
    },
}

fn as_nanos<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

impl Figure {
    pub(crate) fn latency(self) -> Option<Duration> {
        match self {
            Figure::Latency { median, .. } => Some(median),
            _ => None,
        }
    }

    fn p99(self) -> Option<String> {
        match self {
            Figure::Latency { p99, .. } => Some(Time(p99).to_string()),
            _ => None,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Figure::Latency { median, .. } => Time(*median).fmt(f),
            Figure::Rate { per_second } if *per_second >= 1e6 => {
                write!(f, "{:.2} M/s", per_second / 1e6)
            }
            Figure::Rate { per_second } => write!(f, "{:.1} k/s", per_second / 1e3),
            Figure::Memory { bytes } => write!(f, "{:.1} KiB", *bytes as f64 / 1024.0),
        }
    }
}

struct Time(Duration);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_nanos() as f64 / 1e3 {
            micros if micros < 100.0 => write!(f, "{micros:.2} µs"),
            micros if micros < 1000.0 => write!(f, "{micros:.0} µs"),
            micros => write!(f, "{:.1} ms", micros / 1e3),
        }
    }
}

/// What should be reached.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    None,
    Ratio {
        at_least: f64,
    },
    Latency {
        #[serde(rename = "at_most_ns", serialize_with = "as_nanos")]
        at_most: Duration,
    },
    Bytes {
        at_most: u64,
    },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::None => Ok(()),
            Target::Ratio { at_least } => write!(f, "≥ {at_least:.2}"),
            Target::Latency { at_most } => write!(f, "≤ {}", Time(*at_most)),
            Target::Bytes { at_most } => write!(f, "≤ {} KiB", at_most / 1024),
        }
    }
}

/// Whether the target was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Reached,
    Missed,
    /// The rounds differ too much to say.
    Noisy,
    /// There is no target.
    None,
}

impl Verdict {
    pub(crate) fn reached(reached: bool) -> Verdict {
        if reached { Verdict::Reached } else { Verdict::Missed }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Reached => "yes",
            Verdict::Missed => "NO",
            Verdict::Noisy => "noisy",
            Verdict::None => "",
        })
    }
}

/// A line and the name of its case.
#[derive(Debug, Serialize)]
pub(crate) struct CaseRow {
    pub(crate) case: String,
    #[serde(flatten)]
    pub(crate) row: Row,
}

/// Everything that a run says.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// How it was made.
    pub(crate) made: Vec<String>,
    pub(crate) rows: Vec<CaseRow>,
    /// What could not be measured, and why.
    pub(crate) missing: Vec<String>,
}

impl Report {
    pub(crate) fn table(&self) -> String {
        let columns = "case,server,against,measured,p99,floor,p99,ratio,quartiles,target,reached";
        let mut table = table::new(columns.split(','), 3..9);
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
        for CaseRow { case, row } in &self.rows {
            let text = |figure: Option<String>| figure.unwrap_or_default();
            table.add_row([
                case.clone(),
                row.subject.clone(),
                text(row.against.clone()),
                row.figure.to_string(),
                text(row.figure.p99()),
                text(row.floor.map(|floor| floor.to_string())),
                text(row.floor.and_then(Figure::p99)),
                text(row.ratio.map(|ratio| number(ratio.median))),
                text(row.ratio.map(Quartiles::range)),
                row.target.to_string(),
                row.verdict.to_string(),
            ]);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 1));
        }
        let notes = self.rows.iter().filter_map(|CaseRow { case, row }| {
            let note = row.note.as_ref()?;
            Some(format!("{case} ({}): {note}", row.subject))
        });
        let missing = self.missing.iter().map(|what| format!("MISSING: {what}"));
        let lines = notes.chain(missing).chain(self.made.iter().cloned());
        let lines: Vec<String> = lines.collect();
        format!("{table}\n{}\n", lines.join("\n"))
    }
}
