//! The rows of the table: what each says about each model.

use crate::demo::report::sentence::count;
use crate::demo::report::{ModelReport, Report};
use crate::demo::steps::faults::Aborted;
use crate::demo::steps::idle::BeforeAndAfter;
use crate::demo::steps::late::Late;
use crate::demo::steps::load::{Figures, Load};
use crate::demo::steps::plan::LOADS;
use crate::demo::steps::step::Step;
use crate::model::Model;

const AT_ONCE: &str = "at once";
const LATER: &str = "later";

/// A label, and a cell a model; none for the heading of the rows below it.
pub(crate) struct Row {
    pub(crate) label: String,
    pub(crate) cells: Vec<String>,
}

struct Rows<'a> {
    models: &'a [ModelReport],
    rows: Vec<Row>,
}

pub(crate) fn of(report: &Report) -> Vec<Row> {
    let mut rows = Rows { models: &report.models, rows: Vec::new() };

    rows.heading("calls a second");
    rows.loads(|load| count(load.calls_per_second));
    rows.heading("p50 / p99 of the connections served, µs");
    rows.loads(|load| format!("{:.0} / {:.0}", load.p50_us, load.p99_us));
    rows.heading("connections served at the same time");
    rows.loads(|load| format!("{} of {}", load.served, load.connections));

    rows.heading("a second client, beside an idle first");
    rows.row("  is served", |model| {
        model.steps.second_client.cell(|found| if found.waits { LATER } else { AT_ONCE }.to_owned())
    });
    rows.row("  first reply, once it is its turn, µs", |model| {
        model.steps.second_client.cell(|found| format!("{:.0}", found.first_reply_us))
    });

    rows.heading("two calls of pi at once");
    rows.row("  two at once / one alone, ms", |model| {
        model.steps.cores.cell(|pi| format!("{:.0} / {:.0}", pi.together_ms, pi.alone_ms))
    });
    rows.row("  speed-up", |model| model.steps.cores.cell(|pi| format!("{:.2}", pi.speed_up)));

    rows.heading("what a fault takes down");
    rows.row("  a panic", |model| {
        model.steps.panic.cell(|found| {
            let unharmed = found.connection_goes_on && found.survivors == found.bystanders;
            if unharmed { "nothing" } else { "more" }.to_owned()
        })
    });
    rows.row("  an abort", |model| model.steps.abort.cell(|found| reach(model.model, found)));
    rows.row("  its caller is told", |model| {
        model.steps.abort.cell(|found| found.code.map_or("nothing".into(), |code| code.to_string()))
    });
    rows.row("  others that survive the abort", |model| {
        model.steps.abort.cell(|found| match found.bystanders {
            0 => "no others".to_owned(),
            all => format!("{} of {all}", found.survivors),
        })
    });
    rows.row("  a client is served again after, ms", |model| {
        let after = |found: &Aborted| found.served_again_ms.map(|ms| format!("{ms:.1}"));
        model.steps.abort.cell(|found| after(found).unwrap_or("never".into()))
    });

    rows.heading("a handler that takes too long");
    rows.row("  its caller is told after, of 100 ms", |model| {
        model.steps.late.cell(|found| format!("{:.0} ms", found.told_after_ms))
    });
    rows.row("  a new client is served", |model| {
        let served = |found: &Late| if found.next_is_served_at_once { AT_ONCE } else { LATER };
        model.steps.late.cell(|found| served(found).to_owned())
    });

    rows.heading("idle connections");
    rows.row("  held", |model| model.steps.idle.cell(|idle| idle.connections.to_string()));
    rows.row("  processes before → with them", |model| {
        model.steps.idle.cell(|idle| growth(idle.processes))
    });
    rows.row("  threads before → with them", |model| {
        model.steps.idle.cell(|idle| growth(idle.threads))
    });
    rows.row("  memory (PSS) before, KiB", |model| {
        model.steps.idle.cell(|idle| Some(count(idle.pss_kib?.before as f64)))
    });
    rows.row("  memory (PSS) a connection, KiB", |model| {
        model.steps.idle.cell(|idle| Some(format!("{:.0}", idle.pss_kib_per_connection?)))
    });
    rows.row("  ended after SIGTERM, ms", |model| {
        model.steps.stop.cell(|stop| format!("{:.1}", stop.millis))
    });
    rows.rows
}

impl Rows<'_> {
    fn heading(&mut self, label: &str) {
        self.rows.push(Row { label: label.to_owned(), cells: Vec::new() });
    }

    fn row(&mut self, label: &str, cell: impl Fn(&ModelReport) -> String) {
        self.rows
            .push(Row { label: label.to_owned(), cells: self.models.iter().map(cell).collect() });
    }

    /// A row a load.
    fn loads(&mut self, cell: impl Fn(&Figures) -> String) {
        for connections in LOADS {
            let plural = if connections == 1 { "" } else { "s" };
            let text = |load: &Load| Some(cell(load.at(connections)?));
            let label = format!("  {connections} connection{plural}");
            self.row(&label, |model| model.steps.load.cell(text));
        }
    }
}

impl<Figures> Step<Figures> {
    /// A figure; marked where the step did not pass.
    fn cell<Text: Into<Option<String>>>(&self, text: impl Fn(&Figures) -> Text) -> String {
        let mark = if self.passed { "" } else { "✗ " };
        match &self.figures {
            Some(figures) => format!("{mark}{}", text(figures).into().unwrap_or("unknown".into())),
            None => "✗".into(),
        }
    }
}

fn reach(model: Model, found: &Aborted) -> String {
    let reach = match (found.server_survives, model) {
        (false, _) => "the server",
        (true, Model::Prefork | Model::PreforkThread) => "one worker",
        (true, _) => "one process",
    };
    reach.into()
}

fn growth(count: BeforeAndAfter) -> String {
    format!("{} → {}", count.before, count.after)
}
