//! What is told of a model's run.

use crate::launch::usage::Usage;
use crate::model::Model;
use crate::soak::context::results::Results;

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

/// At its end: what the server took `before` the load and `after` it.
pub(super) fn line(model: Model, results: &Results, before: &Usage, after: &Usage) -> String {
    let mebibytes = |usage: &Usage| usage.memory.allocated as f64 / f64::from(1 << 20);
    format!(
        "{model:14} {}, {} slow, {} reloads, {} misbehaviours, {} refused in floods; \
         processes {} → {}, threads {} → {}, descriptors {} → {}, zombies {}, \
         PSS {:.1} → {:.1} MiB; slowest good call {:.0} ms",
        so_far(results),
        results.slow.get(),
        results.reloads.get(),
        results.bad.get(),
        results.flooded.get(),
        before.processes,
        after.processes,
        before.threads,
        after.threads,
        before.descriptors,
        after.descriptors,
        after.zombies,
        mebibytes(before),
        mebibytes(after),
        results.slowest().as_secs_f64() * 1e3,
    )
}
