//! What a handler that panics takes down with it, and what one that aborts.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use rpc_client::Client;
use serde::Serialize;

use crate::demo::steps::client::{code_of, connect, connect_served, connect_with, describe, ping};
use crate::demo::steps::plan::TIMEOUT;
use crate::demo::steps::step::millis;
use crate::launch::Server;
use crate::raw::{Raw, request};
use crate::serve::methods::{ABORT, PANIC};

/// How long one of those attempts may take.
const ATTEMPT: Duration = Duration::from_millis(500);

#[derive(Serialize)]
pub(crate) struct Panicked {
    /// The error's code, if the caller was told one.
    pub(crate) code: Option<i32>,
    pub(crate) caller_saw: String,
    /// Whether the caller's connection served its next call.
    pub(crate) connection_goes_on: bool,
    /// Connections that were being served beside it.
    pub(crate) bystanders: usize,
    pub(crate) survivors: usize,
}

#[derive(Serialize)]
pub(crate) struct Aborted {
    /// The error's code, if the caller was told one.
    pub(crate) code: Option<i32>,
    pub(crate) caller_saw: String,
    /// Connections that were being served beside it.
    pub(crate) bystanders: usize,
    pub(crate) survivors: usize,
    pub(crate) server_survives: bool,
    /// How the server's process ended, if it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_ended: Option<String>,
    /// From the caller's loss to the first reply to a new client.
    pub(crate) served_again_ms: Option<f64>,
}

pub(crate) fn panic(server: &Server, bystanders: usize) -> anyhow::Result<Panicked> {
    let mut others = connect_served(server, bystanders)?;
    let mut caller = connect(server)?;
    let reply = caller.call(PANIC, &());
    Ok(Panicked {
        code: code_of(&reply),
        caller_saw: describe(reply),
        connection_goes_on: ping(&mut caller).is_ok(),
        bystanders,
        survivors: count_survivors(&mut others),
    })
}

pub(crate) fn abort(server: &mut Server, bystanders: usize) -> anyhow::Result<Aborted> {
    // They stay open until the end: where each worker serves one connection, a new client can be
    // served only by the worker that replaces the lost one.
    let mut others = connect_served(server, bystanders)?;
    let mut caller = Raw::connect(server.address(), TIMEOUT)?;
    caller.send(&request(ABORT.name(), "null"))?;
    let reply = caller.receive().map(drop);
    ensure!(reply.is_err(), "a handler that aborts cannot have a result");
    let code = code_of(&reply);
    let caller_saw = describe(reply);
    // Its last words come before its end, and the end of the connection with it. The project's
    // client would not wait for that.
    let _ = caller.receive();
    let served_again = await_service(server, Instant::now());
    let survivors = count_survivors(&mut others);

    let server_survives = server.is_running();
    let server_ended = if server_survives { None } else { Some(server.wait(TIMEOUT)?.to_string()) };
    Ok(Aborted {
        code,
        caller_saw,
        bystanders,
        survivors,
        server_survives,
        server_ended,
        served_again_ms: served_again.map(millis),
    })
}

/// Tries new connections until one is served, the server has ended, or the time is over.
fn await_service(server: &Server, since: Instant) -> Option<Duration> {
    while since.elapsed() < TIMEOUT && server.is_running() {
        let served = connect_with(server, ATTEMPT).and_then(|mut client| ping(&mut client));
        if served.is_ok() {
            return Some(since.elapsed());
        }
        thread::yield_now();
    }
    None
}

fn count_survivors(others: &mut [Client]) -> usize {
    others.iter_mut().filter_map(|other| ping(other).ok()).count()
}
