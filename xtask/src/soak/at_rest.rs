//! Whether a server comes to rest when nobody is connected, and takes as much as before.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::launch::usage::Usage;
use crate::model::Model;
use crate::soak::context::Context;
use crate::soak::context::plan;

/// Threads of `rpc-server-thread` end after 10 s without a connection. Idle ones are used in turn,
/// so asking more often than that would keep them all.
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(12);
const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// How much more a process may take than after the warm-up: heaps have holes, and pages that were
/// shared with others are its own when those have ended.
const MEMORY_A_PROCESS: u64 = 1 << 20;
/// The same for all processes together: a short warm-up on a busy machine does not do everything.
const MEMORY: u64 = 2 << 20;

/// Why `now` is more than it was `before`.
fn growth(now: &Usage, before: &Usage) -> Option<String> {
    let limit = before.memory.allocated + MEMORY + MEMORY_A_PROCESS * before.processes as u64;
    let grown = [
        ("threads", now.threads as u64, before.threads as u64),
        ("descriptors", now.descriptors as u64, before.descriptors as u64),
        ("zombies", now.zombies as u64, 0),
        ("bytes of memory (PSS)", now.memory.allocated, limit),
    ];
    let grown = grown.into_iter().filter(|(_, now, limit)| now > limit);
    let grown =
        grown.map(|(what, now, limit)| format!("{now} {what} are left, at most {limit} should be"));
    let grown: Vec<String> = grown.collect();
    (!grown.is_empty()).then(|| grown.join(", "))
}

/// How long a server may take until it is at rest.
fn time(model: Model) -> Duration {
    Duration::from_secs(match model {
        Model::Single | Model::Fork => 10,
        // Threads end late, and a worker that has died often is replaced after some seconds.
        Model::Thread | Model::Prefork | Model::PreforkThread => 50,
    })
}

/// Waits until nobody is connected and the processes are those of a server at rest, and then until
/// it takes no more than `before`, if that is given.
pub(super) fn wait(context: &Context<'_>, before: Option<&Usage>) -> anyhow::Result<Usage> {
    let processes = 1 + plan::workers(context.model);
    let time = time(context.model);
    let deadline = Instant::now() + time;
    let mut open = u64::MAX;
    let mut asked = Instant::now();
    loop {
        // The connection that asks is one. It also wakes a worker that holds the last goodbye open.
        if open > 1 || asked.elapsed() > BETWEEN_QUESTIONS {
            open = context.ask()?.connections.open;
            asked = Instant::now();
        }
        let usage = Usage::of(context.root);
        let unrest = if open > 1 {
            Some(format!("{} connections are open that nobody has", open - 1))
        } else if usage.processes != processes {
            Some(format!("it has {} processes instead of {processes}", usage.processes))
        } else {
            before.and_then(|before| growth(&usage, before))
        };
        match unrest {
            None => return Ok(usage),
            Some(what) if Instant::now() > deadline => {
                let before = before.map_or(String::new(), |before| format!("; before: {before}"));
                bail!("{time:?} after the load {what}; now: {usage}{before}");
            }
            Some(_) => context.results.await_failure(BETWEEN_LOOKS),
        }
    }
}

/// What a server of this model takes at rest: one thread a process, whatever the warm-up has left.
pub(super) fn without_idle_threads(model: Model, mut usage: Usage) -> Usage {
    if matches!(model, Model::Thread | Model::PreforkThread) {
        usage.threads = usage.processes;
    }
    usage
}
