//! A handler that does not return in time: when its caller is told, and who is served meanwhile.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rpc_proto::{FrameReader, FrameWriter, MAX_FRAME_LEN, Request, Response, RpcError};
use serde::Serialize;

use crate::demo::steps::client::is_served_within;
use crate::demo::steps::plan::TIMEOUT;
use crate::demo::steps::step::millis;
use crate::launch::Server;
use crate::methods::SLEEP;

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
    let mut caller = TcpStream::connect(server.address().to_string())?;
    caller.set_read_timeout(Some(TIMEOUT))?;
    let mut requests = FrameWriter::new();
    let handler_ms = HANDLER.as_millis() as u64;
    requests.append(|body| Request::encode_with_timeout(body, SLEEP.name(), LIMIT, &handler_ms))?;
    let begun = Instant::now();
    caller.write_all(requests.as_bytes())?;
    let mut replies = FrameReader::new(MAX_FRAME_LEN);
    while !replies.frame_is_ready() {
        ensure!(replies.read_from(&mut caller)? > 0, "the connection ended without an answer");
    }
    let told_after = begun.elapsed();
    let body = replies.next_frame()?.context("a frame is there")?;
    let reply = Response::parse(body)?;
    let error: Option<RpcError> = serde_json::from_str(reply.result.get()).ok();

    let next_is_served_at_once = is_served_within(server, NEXT_WAITS).context("the next client")?;
    Ok(Late {
        code: error.as_ref().map(|error| error.code),
        caller_saw: match error {
            Some(error) => format!("error {}: {}", error.code, error.message),
            None => "a result".to_owned(),
        },
        limit_ms: LIMIT.as_millis() as u64,
        told_after_ms: millis(told_after),
        next_is_served_at_once,
    })
}
