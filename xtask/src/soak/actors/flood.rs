//! More connections than the server serves, and the relief.

use std::time::Instant;

use rpc_client::{CallError, ErrorCode};

use crate::raw::{Raw, request};
use crate::soak::context::Context;
use crate::soak::context::expected_failure::Since;
use crate::soak::context::plan::{self, TIMEOUT};

const PING: &str = "\"is there a place?\"";
const PONG: &[u8] = br#"{"out":"pong","result":"is there a place?"}"#;

pub(crate) fn flood_repeatedly(context: &Context<'_>, name: &str) {
    let load = context.end.saturating_duration_since(Instant::now());
    while context.goes_on() {
        context.pause(load / 5);
        if context.goes_on()
            && let Err(error) = flood(context, name)
        {
            context.results.fail(format!("{name}: {error:#}"));
        }
    }
}

fn flood(context: &Context<'_>, name: &str) -> anyhow::Result<()> {
    let span = context.faults.floods.begin();
    let since = context.since_now();
    let begun = Instant::now();
    let mut connections = Vec::new();
    for _ in 0..plan::flood(context.model) {
        let mut connection = Raw::connect(context.address, TIMEOUT)?;
        // Who is refused may notice it here already.
        let _ = connection.send(&request("ping", PING));
        connections.push(connection);
    }
    let mut served = Vec::new();
    for mut connection in connections {
        if !answered(context, name, &mut connection, since, begun) {
            return Ok(());
        }
        // A client that waits is served when this one is gone.
        if plan::refuses(context.model) {
            served.push(connection);
        }
    }
    drop(served);
    context.await_that("the connections of a flood are gone", || {
        let open = context.ask()?.connections.open;
        Ok(open <= plan::USUAL_CONNECTIONS || context.results.has_failed())
    })?;
    drop(span);
    Ok(())
}

/// Whether it was served or refused, or failed as expected.
fn answered(
    context: &Context<'_>,
    name: &str,
    connection: &mut Raw,
    since: Since,
    begun: Instant,
) -> bool {
    match connection.receive() {
        Ok(body) if body == PONG => return true,
        Ok(body) => {
            let body = String::from_utf8_lossy(&body).into_owned();
            context.results.fail(format!("{name}: a wrong reply: {body}"));
        }
        Err(CallError::Rpc(error))
            if plan::refuses(context.model) && error.known_code() == Some(ErrorCode::Busy) =>
        {
            context.results.flooded.add(1);
        }
        Err(error) => context.count_failure(name, &error, since, begun.elapsed()),
    }
    !context.results.has_failed()
}
