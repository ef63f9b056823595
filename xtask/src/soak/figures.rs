//! The line that a model's run ends with.

use std::fmt;
use std::time::Duration;

use super::rest::Usage;
use super::tally::Tally;
use crate::model::Model;

pub(super) struct Figures {
    model: Model,
    counts: String,
    before: Usage,
    after: Usage,
    slowest: Duration,
}

impl Figures {
    pub(super) fn new(model: Model, tally: &Tally, before: Usage, after: Usage) -> Figures {
        let counts = format!(
            "{}, {} slow, {} reloads, {} misdeeds, {} refused in floods",
            Figures::so_far(tally),
            tally.slow.get(),
            tally.reloads.get(),
            tally.bad.get(),
            tally.flooded.get(),
        );
        Figures { model, counts, before, after, slowest: tally.slowest() }
    }

    /// While it runs.
    pub(super) fn so_far(tally: &Tally) -> String {
        format!(
            "{} good calls, {} refused, {} cut, {} kills, {} crashes",
            tally.good.get(),
            tally.refused.get(),
            tally.cut.get(),
            tally.kills.get(),
            tally.crashes.get()
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
