//! The line that a model's run ends with.

use std::fmt;
use std::time::Duration;

use crate::model::Model;
use crate::soak::context::results::Results;
use crate::soak::usage::Usage;

pub(super) struct Figures {
    model: Model,
    counts: String,
    before: Usage,
    after: Usage,
    slowest: Duration,
}

impl Figures {
    pub(super) fn new(model: Model, results: &Results, before: Usage, after: Usage) -> Figures {
        let counts = format!(
            "{}, {} slow, {} reloads, {} misbehaviours, {} refused in floods",
            Figures::so_far(results),
            results.slow.get(),
            results.reloads.get(),
            results.bad.get(),
            results.flooded.get(),
        );
        Figures { model, counts, before, after, slowest: results.slowest() }
    }

    /// While it runs.
    pub(super) fn so_far(results: &Results) -> String {
        format!(
            "{} good calls, {} refused, {} cut, {} kills, {} crashes",
            results.good.get(),
            results.refused.get(),
            results.cut.get(),
            results.kills.get(),
            results.crashes.get()
        )
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { model, counts, before, after, slowest } = self;
        let mebibytes = |usage: &Usage| usage.pss as f64 / f64::from(1 << 20);
        write!(
            f,
            "{:14} {counts}; processes {} → {}, threads {} → {}, descriptors {} → {}, zombies {}, \
             PSS {:.1} → {:.1} MiB; slowest good call {:.0} ms",
            model.name(),
            before.processes,
            after.processes,
            before.threads,
            after.threads,
            before.descriptors,
            after.descriptors,
            after.zombies,
            mebibytes(before),
            mebibytes(after),
            slowest.as_secs_f64() * 1e3,
        )
    }
}
