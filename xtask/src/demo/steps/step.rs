//! The outcome of one step.

use std::time::Duration;

use serde::Serialize;

/// What one step found, and whether that is what it should find.
#[derive(Serialize)]
pub(crate) struct Step<Figures> {
    pub(crate) passed: bool,
    /// Why it did not pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
    seconds: f64,
    /// Absent when there was nothing to measure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) figures: Option<Figures>,
}

impl<Figures> Step<Figures> {
    /// Holds what was measured against what was expected.
    pub(crate) fn new(
        measured: anyhow::Result<Figures>,
        expectation: impl FnOnce(&Figures) -> anyhow::Result<()>,
        took: Duration,
    ) -> Step<Figures> {
        let problem = match &measured {
            Ok(figures) => expectation(figures).err().map(|error| error.to_string()),
            Err(error) => Some(format!("{error:#}")),
        };
        Step {
            passed: problem.is_none(),
            problem,
            seconds: (took.as_secs_f64() * 1e3).round() / 1e3,
            figures: measured.ok(),
        }
    }
}

/// A time in milliseconds, as exact as anybody reads it.
pub(crate) fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e5).round() / 1e2
}
