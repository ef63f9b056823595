//! What to notice about each model, in the figures that were measured.

use indicatif::HumanCount;

use crate::demo::report::{Report, Steps};
use crate::demo::steps::cores::Cores;
use crate::model::Model;

/// The most connections that call at the same time.
const MANY: usize = 16;

/// One sentence about `model`. What was not measured is left out.
pub(crate) fn about(model: Model, report: &Report) -> String {
    let Some(steps) = report.of(model) else {
        return String::new();
    };
    let parts = match model {
        Model::Single => {
            vec![calls_alone_and_together(steps), second_client(steps), abort_of_a_server(steps)]
        }
        Model::Thread => vec![
            served_together(steps),
            two_calls_of_pi(steps),
            idle_cost(steps),
            abort_of_a_server(steps),
        ],
        Model::Fork => vec![
            abort_beside_others(steps),
            idle_cost(steps),
            first_reply_against_thread(steps, report),
        ],
        Model::Prefork => vec![
            served_by_workers(steps, report.circumstances.workers),
            first_reply_against_thread(steps, report),
            replacement(steps),
        ],
        Model::PreforkThread => vec![
            served_by_workers(steps, report.circumstances.workers),
            idle_cost(steps),
            abort_beside_others(steps),
        ],
    };
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => "nothing could be measured.".into(),
        false => format!("{}.", parts.join("; ")),
    }
}

fn calls_alone_and_together(steps: &Steps) -> Option<String> {
    let load = steps.load.figures.as_ref()?;
    let (alone, many) = (load.at(1)?, load.at(MANY)?);
    Some(format!(
        "{} calls a second on one connection and {} on {MANY}, of which it serves {} at a time",
        count(alone.calls_per_second),
        count(many.calls_per_second),
        many.served
    ))
}

fn served_together(steps: &Steps) -> Option<String> {
    let many = steps.load.figures.as_ref()?.at(MANY)?;
    Some(format!(
        "serves {} of {MANY} connections side by side, {} calls a second together",
        many.served,
        count(many.calls_per_second)
    ))
}

fn served_by_workers(steps: &Steps, workers: usize) -> Option<String> {
    let many = steps.load.figures.as_ref()?.at(MANY)?;
    let waiting = match many.connections - many.served {
        0 => String::new(),
        waiting => format!(", the other {waiting} wait"),
    };
    Some(format!("its {workers} workers serve {} of {MANY} connections{waiting}", many.served))
}

fn second_client(steps: &Steps) -> Option<String> {
    let found = steps.second_client.figures.as_ref()?;
    Some(if found.waits {
        format!("a second client had no reply for {} ms, until the first left", found.given_ms)
    } else {
        format!("a second client is served after {:.0} µs", found.first_reply_us)
    })
}

fn two_calls_of_pi(steps: &Steps) -> Option<String> {
    let Cores { cores, speed_up, .. } = steps.cores.figures.as_ref()?;
    Some(match cores {
        1 => "this machine has one core, so two calls of pi gain nothing".into(),
        _ => format!("two calls of pi at once run {speed_up:.1} times as fast as in turn"),
    })
}

fn idle_cost(steps: &Steps) -> Option<String> {
    let idle = steps.idle.figures.as_ref()?;
    let holds = match (idle.processes.more(), idle.threads.more()) {
        (0, 0) => return None,
        (0, _) => "a thread",
        _ => "a process",
    };
    Some(match idle.pss_kib_per_connection {
        Some(kib) => format!("an idle connection costs {holds} and {kib:.0} KiB"),
        None => format!("an idle connection costs {holds}"),
    })
}

/// What a new client pays for the way its connection is handed on.
fn first_reply_against_thread(steps: &Steps, report: &Report) -> Option<String> {
    let first_reply = |steps: &Steps| Some(steps.second_client.figures.as_ref()?.first_reply_us);
    let own = first_reply(steps)?;
    let thread = first_reply(report.of(Model::Thread)?)?;
    Some(format!("a new client's first reply takes {own:.0} µs, with thread {thread:.0} µs"))
}

fn abort_of_a_server(steps: &Steps) -> Option<String> {
    let abort = steps.abort.figures.as_ref()?;
    let lost = abort.bystanders - abort.survivors;
    let others = match lost {
        0 => String::new(),
        lost => format!(" and {lost} other connections"),
    };
    Some(format!("one abort took down the whole server{others}"))
}

fn abort_beside_others(steps: &Steps) -> Option<String> {
    let abort = steps.abort.figures.as_ref()?;
    Some(match abort.bystanders - abort.survivors {
        0 => {
            format!("an abort took down its own connection and none of {} others", abort.bystanders)
        }
        lost => format!(
            "an abort took {lost} of {} other connections along, served by the same worker",
            abort.bystanders
        ),
    })
}

fn replacement(steps: &Steps) -> Option<String> {
    let abort = steps.abort.figures.as_ref()?;
    Some(format!(
        "an abort cost one worker and its connection, {} of {} others lived on, and a new client \
         was served after {:.1} ms",
        abort.survivors, abort.bystanders, abort.served_again_ms?
    ))
}

pub(crate) fn count(calls: f64) -> String {
    HumanCount(calls as u64).to_string()
}
