//! The table at the end, and what is said around it.

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use console::Term;
use textwrap::Options;

use crate::demo::report::rows::{self, Row};
use crate::demo::report::sentence;
use crate::demo::report::{Circumstances, Report};
use crate::table;

/// Lines are never wider, however wide the terminal is.
const WIDEST: usize = 120;

/// How many columns a line may have.
pub(crate) fn terminal_width() -> usize {
    let size = Term::stdout().size_checked();
    size.map_or(WIDEST, |(_, columns)| WIDEST.min(columns.into()))
}

/// The whole text, in lines of at most `width` columns where words allow that.
pub(crate) fn render(report: &Report, width: usize) -> String {
    let mut parts = Vec::new();
    parts.extend(caveat(&report.circumstances).map(|caveat| wrap(&caveat, width)));
    parts.extend(tables(report, width));
    parts.push(sentences(report, width));
    let problems = problems(report);
    if !problems.is_empty() {
        parts.push(problems);
    }
    parts.push(wrap(&how_it_was_made(report), width));
    format!("\n{}\n", parts.join("\n\n"))
}

/// One table with a column a model, or as many as it takes to fit into the width.
fn tables(report: &Report, width: usize) -> Vec<String> {
    let rows = rows::of(report);
    let models: Vec<usize> = (0..report.models.len()).collect();
    let mut columns = models.len();
    loop {
        let tables: Vec<String> =
            models.chunks(columns.max(1)).map(|models| table(report, &rows, models)).collect();
        let mut lines = tables.iter().flat_map(|table| table.lines());
        if columns <= 1 || lines.all(|line| line.chars().count() <= width) {
            return tables;
        }
        columns -= 1;
    }
}

fn table(report: &Report, rows: &[Row], models: &[usize]) -> String {
    let names = models.iter().map(|&model| report.models[model].model.name());
    let mut table = table::new([""].into_iter().chain(names), 1..usize::MAX);
    for row in rows {
        let cells = models.iter().filter_map(|&model| row.cells.get(model));
        table.add_row([&row.label].into_iter().chain(cells));
    }
    lines_of(&table)
}

fn sentences(report: &Report, width: usize) -> String {
    let mut table = Table::new();
    table
        .load_preset(NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(u16::try_from(width).unwrap_or(u16::MAX));
    for model in &report.models {
        let about = sentence::about(model.model, report);
        table.add_row([model.model.name(), &about]);
    }
    lines_of(&table)
}

fn problems(report: &Report) -> String {
    let mut lines = Vec::new();
    for model in &report.models {
        for (step, problem) in model.problems() {
            lines.push(format!("✗ {}, {step}: {problem}", model.model));
        }
        let log = model.server_log.iter();
        lines.extend(log.map(|line| format!("    its server said: {line}")));
    }
    lines.join("\n")
}

/// What is to be read before the figures, lest they be believed.
fn caveat(made: &Circumstances) -> Option<String> {
    let load = made.load_before.filter(|&load| load >= made.cores as f32)?;
    let cores = match made.cores {
        1 => "1 core".to_owned(),
        cores => format!("{cores} cores"),
    };
    Some(format!(
        "The machine was busy (load average {load} on {cores} before the start): figures of speed \
         say little."
    ))
}

fn how_it_was_made(report: &Report) -> String {
    let made = &report.circumstances;
    let cores = match made.cores {
        1 => "the machine's only core, where nothing runs side by side".to_owned(),
        cores => format!("the same {cores} cores"),
    };
    format!(
        "How it was made: client and server on {cores}, {} build, {}, pings of 9 characters, {} s \
         a load after {} s of warm-up, {} s in all. PSS leaves out the memory of the kernel, such \
         as socket buffers and page tables.",
        made.build, made.transport, made.window_seconds, made.warm_up_seconds, made.total_seconds
    )
}

/// As far from the left as the tables.
fn wrap(text: &str, width: usize) -> String {
    textwrap::fill(text, Options::new(width).initial_indent(" ").subsequent_indent(" "))
}

/// Without the blanks at the ends of lines, which would wrap in a narrow terminal.
fn lines_of(table: &Table) -> String {
    let lines = table.lines().map(|line| line.trim_end().to_owned());
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::demo::steps::plan::Plan;

    #[test]
    fn a_busy_machine_is_mentioned_before_the_figures() {
        for (load_before, busy) in [
            (None, false),
            (Some(0.0), false),
            (Some(1.99), false),
            (Some(2.0), true),
            (Some(7.5), true),
        ] {
            let plan = Plan { cores: 2, ..Plan::quick() };
            let circumstances = Circumstances::of(&plan, load_before, Duration::ZERO);
            let text = render(&Report::new(Vec::new(), circumstances), WIDEST);
            let first_line = text.trim_start().lines().next().unwrap_or_default();
            assert_eq!(first_line.contains("was busy"), busy, "{load_before:?}: {text}");
        }
    }
}
