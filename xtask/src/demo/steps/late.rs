//! A handler that does not return in time: when its caller is told, and who is served meanwhile.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use crate::demo::steps::client::{code_of, describe, is_served_within};
use crate::demo::steps::plan::TIMEOUT;
use crate::demo::steps::step::millis;
use crate::launch::Server;
use crate::raw::{Raw, frame};
use crate::serve::methods::SLEEP;

/// How much time the request gives.
const LIMIT: Duration = Duration::from_millis(100);

/// How long the handler takes: longer than a new client waits.
const HANDLER: Duration = Duration::from_millis(1500);

/// How long a new client waits until we believe that it has to wait.
const NEXT_WAITS: Duration = Duration::from_millis(700);

#[derive(Serialize)]
pub(crate) struct Late {
    /// The error's code, if the caller was told one.
    pub(crate) code: Option<i32>,
    pub(crate) caller_saw: String,
    pub(crate) limit_ms: u64,
    pub(crate) told_after_ms: f64,
    /// Whether a new client was served while the handler would still have run.
    pub(crate) next_is_served_at_once: bool,
}

/// By hand, because the project's client gives up when its server does, and would not see what the
/// server has to say.
pub(crate) fn measure(server: &Server) -> anyhow::Result<Late> {
    let mut caller = Raw::connect(server.address(), TIMEOUT)?;
    let (limit_ms, handler_ms) = (LIMIT.as_millis() as u64, HANDLER.as_millis());
    let sleep = SLEEP.name();
    let call = format!(r#"{{"in":"{sleep}","timeout_ms":{limit_ms},"params":{handler_ms}}}"#);
    let begun = Instant::now();
    caller.send(&frame(call.as_bytes()))?;
    let reply = caller.receive().map(drop);
    let told_after = begun.elapsed();

    let next_is_served_at_once = is_served_within(server, NEXT_WAITS).context("the next client")?;
    Ok(Late {
        code: code_of(&reply),
        caller_saw: describe(reply),
        limit_ms,
        told_after_ms: millis(told_after),
        next_is_served_at_once,
    })
}
