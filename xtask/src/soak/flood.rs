//! More connections than the server serves, and the relief.

use std::time::Instant;

use rpc_client::{CallError, ErrorCode};

use super::excuse::Since;
use super::plan;
use super::raw::{Raw, request};
use super::scene::Scene;

const PING: &str = "\"is there a place?\"";
const PONG: &[u8] = br#"{"out":"pong","result":"is there a place?"}"#;

pub(super) fn flood_again_and_again(scene: &Scene<'_>, name: &str) {
    let load = scene.end.saturating_duration_since(Instant::now());
    while scene.goes_on() {
        scene.pause(load / 5);
        if scene.goes_on()
            && let Err(error) = flood(scene, name)
        {
            scene.tally.fail(format!("{name}: {error:#}"));
        }
    }
}

fn flood(scene: &Scene<'_>, name: &str) -> anyhow::Result<()> {
    let span = scene.deeds.floods.begin();
    let since = scene.since_now();
    let begun = Instant::now();
    let mut connections = Vec::new();
    for _ in 0..plan::flood(scene.model) {
        let mut connection = Raw::connect(scene.address)?;
        // Who is refused may notice it here already.
        let _ = connection.send(&request("ping", PING));
        connections.push(connection);
    }
    let mut served = Vec::new();
    for mut connection in connections {
        if !answered(scene, name, &mut connection, since, begun) {
            return Ok(());
        }
        // Whoever waits for a place gets it when this one is gone.
        if plan::refuses(scene.model) {
            served.push(connection);
        }
    }
    drop(served);
    scene.await_that("the connections of a flood are gone", || {
        let open = scene.ask()?.connections.open;
        Ok(open <= plan::USUAL_CONNECTIONS || scene.tally.has_failed())
    })?;
    drop(span);
    Ok(())
}

/// Whether it was served or refused, or had another excuse.
fn answered(
    scene: &Scene<'_>,
    name: &str,
    connection: &mut Raw,
    since: Since,
    begun: Instant,
) -> bool {
    match connection.receive() {
        Ok(body) if body == PONG => return true,
        Ok(body) => {
            let body = String::from_utf8_lossy(&body).into_owned();
            scene.tally.fail(format!("{name}: a wrong reply: {body}"));
        }
        Err(CallError::Rpc(error))
            if plan::refuses(scene.model) && error.known_code() == Some(ErrorCode::Busy) =>
        {
            scene.tally.flooded.add(1);
        }
        Err(error) => scene.judge(name, &error, since, begun.elapsed()),
    }
    !scene.tally.has_failed()
}
