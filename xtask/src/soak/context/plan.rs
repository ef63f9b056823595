//! How a server is started, and how much is done to it.

use std::time::Duration;

use crate::model::Model;

/// How long a call or an answer may take before that is a failure: in `single` many wait their
/// turn behind peers who say nothing.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// Silence before the first request after which the server gives up.
pub(crate) const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// Silence between two requests after which it gives up.
pub(crate) const IDLE: Duration = Duration::from_secs(2);
/// How long a request may take to arrive, and a reply to be taken.
pub(crate) const TRANSFER: Duration = Duration::from_secs(1);
/// How long the connections of a replaced worker may go on.
pub(crate) const DRAIN: Duration = Duration::from_secs(1);
/// How the C library of the servers gives memory back, mallopt(3). Left alone it keeps megabytes
/// for each of many heaps, among which a leak would not be seen.
pub(crate) const MEMORY: [(&str, &str); 3] = [
    ("MALLOC_ARENA_MAX", "2"),
    ("MALLOC_MMAP_THRESHOLD_", "131072"),
    ("MALLOC_TRIM_THRESHOLD_", "131072"),
];

/// How long a stop may take.
pub(crate) const GRACE: Duration = Duration::from_secs(10);

pub(crate) const MAX_FRAME_LEN: usize = 2 << 20;

/// Threads of thread, children of fork, threads of each worker of prefork-thread. More than all
/// clients together need, so that only a flood reaches it.
const MAX_CONNECTIONS: usize = 32;

/// One more than this, or fewer, connections are open when no flood is going on.
pub(crate) const USUAL_CONNECTIONS: u64 = 20;

pub(crate) fn workers(model: Model) -> usize {
    match model {
        Model::Single | Model::Thread | Model::Fork => 0,
        Model::Prefork => 6,
        Model::PreforkThread => 3,
    }
}

/// Whether connections over a limit are refused. In the other models they wait.
pub(crate) fn refuses(model: Model) -> bool {
    matches!(model, Model::Thread | Model::Fork | Model::PreforkThread)
}

/// How many of a server's connections end with one of its processes, at most.
pub(crate) fn connections_a_process(model: Model) -> u64 {
    match model {
        Model::Single | Model::Thread => 0,
        Model::Fork | Model::Prefork => 1,
        Model::PreforkThread => MAX_CONNECTIONS as u64,
    }
}

/// More connections than the server serves at a time.
pub(crate) fn flood(model: Model) -> usize {
    match model {
        Model::Single | Model::Prefork => 24,
        Model::Thread | Model::Fork => MAX_CONNECTIONS + 8,
        Model::PreforkThread => workers(model) * MAX_CONNECTIONS + 24,
    }
}

/// How many calls a client makes on a connection that lasts. Where a connection keeps others from
/// being served it must end early.
pub(crate) fn calls_a_connection(model: Model) -> usize {
    match model {
        Model::Single => 50,
        Model::Prefork => 500,
        Model::Thread | Model::Fork | Model::PreforkThread => 20_000,
    }
}

/// How many good calls may be held up by the machine for longer than the server waits. More than
/// that is no accident.
pub(crate) fn slow_calls(good_calls: u64) -> u64 {
    5 + good_calls / 200
}

/// The time from one death to the next.
///
/// A worker that dies again soon is replaced later and later, up to 30 s, until one has lived for a
/// minute. So each place may lose two of them a minute, no more.
pub(crate) fn time_between_deaths(model: Model, load: Duration) -> Duration {
    match model {
        Model::Fork => Duration::from_millis(20),
        _ => load.min(Duration::from_secs(60)) / (2 * workers(model).max(1)) as u32,
    }
}

pub(crate) fn arguments(model: Model) -> Vec<String> {
    let mut arguments = format!(
        "--fault-methods --log warn --max-frame-len {MAX_FRAME_LEN} --idle-timeout {IDLE:?} \
         --first-request-timeout {FIRST_REQUEST:?} --frame-timeout {TRANSFER:?} \
         --write-timeout {TRANSFER:?} --grace {GRACE:?}"
    );
    if matches!(model, Model::Thread | Model::PreforkThread) {
        arguments += &format!(" --max-connections {MAX_CONNECTIONS}");
    }
    if model == Model::Fork {
        arguments += &format!(" --max-children {MAX_CONNECTIONS}");
    }
    if model.has_workers() {
        let workers = workers(model);
        arguments += &format!(" --workers {workers} --max-requests 5000 --drain {DRAIN:?}");
    }
    arguments.split(' ').map(str::to_owned).collect()
}
