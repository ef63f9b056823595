//! Everything that the demo found, as `--json` prints it.
//!
//! Here belongs what is shown and how: `table` puts the `rows` and the `sentence`s together. Nothing
//! is measured here.

mod rows;
mod sentence;
pub(super) mod table;

use std::time::Duration;

use serde::Serialize;

use crate::demo::steps::cores::Cores;
use crate::demo::steps::faults::{Aborted, Panicked};
use crate::demo::steps::idle::Idle;
use crate::demo::steps::late::Late;
use crate::demo::steps::load::Load;
use crate::demo::steps::plan::Plan;
use crate::demo::steps::second_client::SecondClient;
use crate::demo::steps::session::Session;
use crate::demo::steps::step::Step;
use crate::demo::steps::stop::Stop;
use crate::model::Model;

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) passed: bool,
    pub(super) circumstances: Circumstances,
    pub(super) models: Vec<ModelReport>,
}

/// How the figures were made.
#[derive(Serialize)]
pub(super) struct Circumstances {
    /// Processors that client and server share.
    pub(super) cores: usize,
    pub(super) workers: usize,
    pub(super) build: &'static str,
    pub(super) transport: &'static str,
    pub(super) warm_up_seconds: f64,
    pub(super) window_seconds: f64,
    pub(super) total_seconds: f64,
    /// The load average of the minute before, where the system tells: other work makes every
    /// figure worse.
    pub(super) load_before: Option<f32>,
}

#[derive(Serialize)]
pub(super) struct ModelReport {
    pub(super) model: Model,
    pub(super) steps: Steps,
    /// What its servers logged last, if a step did not pass.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) server_log: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Steps {
    pub(super) session: Step<Session>,
    pub(super) load: Step<Load>,
    pub(super) second_client: Step<SecondClient>,
    pub(super) cores: Step<Cores>,
    pub(super) panic: Step<Panicked>,
    pub(super) abort: Step<Aborted>,
    pub(super) late: Step<Late>,
    pub(super) idle: Step<Idle>,
    pub(super) stop: Step<Stop>,
}

impl Report {
    pub(super) fn new(models: Vec<ModelReport>, circumstances: Circumstances) -> Report {
        Report {
            passed: models.iter().all(|model| model.problems().is_empty()),
            circumstances,
            models,
        }
    }

    pub(super) fn failed_steps(&self) -> usize {
        self.models.iter().map(|model| model.problems().len()).sum()
    }

    pub(super) fn of(&self, model: Model) -> Option<&Steps> {
        let mut models = self.models.iter();
        let report = models.find(|report| report.model == model)?;
        Some(&report.steps)
    }
}

impl Circumstances {
    pub(super) fn of(plan: &Plan, load_before: Option<f32>, total: Duration) -> Circumstances {
        Circumstances {
            cores: plan.cores,
            workers: plan.workers,
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
            transport: "TCP over loopback",
            warm_up_seconds: plan.warm_up.as_secs_f64(),
            window_seconds: plan.window.as_secs_f64(),
            total_seconds: (total.as_secs_f64() * 10.0).round() / 10.0,
            load_before,
        }
    }
}

impl ModelReport {
    pub(super) fn new(model: Model, steps: Steps, server_log: Vec<String>) -> ModelReport {
        let report = ModelReport { model, steps, server_log: Vec::new() };
        if report.problems().is_empty() {
            return report;
        }
        ModelReport { server_log, ..report }
    }

    /// Whether every step passed, and what there is to say in a line.
    pub(super) fn outcome(&self) -> (bool, String) {
        let problems = self.problems();
        let session = self.steps.session.figures.as_ref();
        let mut message = session.map_or_else(String::new, |session| session.summary());
        for (step, problem) in &problems {
            message = format!("✗ {step}: {problem}; {message}");
        }
        (problems.is_empty(), message)
    }

    /// The names of the steps that did not pass, and why.
    pub(super) fn problems(&self) -> Vec<(&'static str, &str)> {
        let steps = &self.steps;
        let problems = [
            ("session", &steps.session.problem),
            ("load", &steps.load.problem),
            ("second client", &steps.second_client.problem),
            ("pi", &steps.cores.problem),
            ("panic", &steps.panic.problem),
            ("abort", &steps.abort.problem),
            ("late", &steps.late.problem),
            ("idle connections", &steps.idle.problem),
            ("stop", &steps.stop.problem),
        ];
        problems
            .into_iter()
            .filter_map(|(name, problem)| Some((name, problem.as_deref()?)))
            .collect()
    }
}

impl Steps {
    pub(super) const COUNT: u64 = 9;
}
