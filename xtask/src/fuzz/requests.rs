//! The parser of requests and replies: it agrees with the plain reading of every body, and so does
//! the fast way for usual spellings.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fastrand::Rng;
use rpc_proto::{MessageError, Request, Response, RpcError};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::corpus::{REPLIES, REQUESTS};
use super::envelope::{self, Meaning};
use super::mutation::mutate;

/// An error repeats little of what came, in bytes.
const MAX_ERROR_LEN: usize = 400;

/// Parses one body in every way and compares.
pub(super) fn run(seed: u64) -> anyhow::Result<()> {
    let mut random = Rng::with_seed(seed);
    let good = match random.u8(0..5) {
        0 => random.choice(REPLIES),
        _ => random.choice(REQUESTS),
    };
    let mut body = good.unwrap_or_default().as_bytes().to_vec();
    mutate(&mut body, &mut random);
    check(&body).with_context(|| format!("body {}", body.escape_ascii()))
}

fn check(body: &[u8]) -> anyhow::Result<()> {
    let expected = envelope::request(body);
    let parsed = Request::parse(body);
    let found = match &parsed {
        Ok(request) => Meaning::Message {
            name: request.method.to_string(),
            timeout_ms: request.timeout.map(milliseconds).transpose()?,
            payload: Some(request.params.get()),
        },
        Err(error) => meaning_of(error),
    };
    ensure!(found == with_null_for_absent(envelope::request(body)), "{found:?}, not {expected:?}");
    match parsed {
        Ok(request) => check_round_trip(&request)?,
        Err(error) => check_told(error)?,
    }

    let found = match Response::parse(body) {
        Ok(reply) => Meaning::Message {
            name: reply.kind.into_owned(),
            timeout_ms: None,
            payload: Some(reply.result.get()),
        },
        Err(error) => meaning_of(&error),
    };
    let expected_reply = envelope::reply(body);
    ensure!(found == expected_reply, "as a reply {found:?}, not {expected_reply:?}");

    if let Ok(text) = str::from_utf8(body) {
        check_fast_way::<&RawValue>(text, &expected)?;
        check_fast_way::<IgnoredAny>(text, &expected)?;
        check_fast_way::<String>(text, &expected)?;
        check_fast_way::<u64>(text, &expected)?;
        check_fast_way::<()>(text, &expected)?;
    }
    Ok(())
}

/// Whoever parses what the fast way gives, and succeeds, has the plain reading.
fn check_fast_way<'a, Params: Deserialize<'a>>(
    text: &'a str,
    expected: &Meaning<'_>,
) -> anyhow::Result<()> {
    if let Some((method, timeout, params)) = Request::split_usual(text)
        && serde_json::from_str::<Params>(params).is_ok()
    {
        let raw: &RawValue = serde_json::from_str(params).context("params that are no JSON")?;
        let found = Meaning::Message {
            name: method.to_owned(),
            timeout_ms: timeout.map(milliseconds).transpose()?,
            payload: Some(raw.get()),
        };
        ensure!(found == *expected, "the fast way: {found:?}, not {expected:?}");
    }
    Ok(())
}

fn milliseconds(timeout: Duration) -> anyhow::Result<u64> {
    u64::try_from(timeout.as_millis()).context("a time-out beyond 64 bits")
}

fn with_null_for_absent(meaning: Meaning<'_>) -> Meaning<'_> {
    match meaning {
        Meaning::Message { name, timeout_ms, payload } => {
            Meaning::Message { name, timeout_ms, payload: payload.or(Some("null")) }
        }
        other => other,
    }
}

fn meaning_of(error: &MessageError) -> Meaning<'static> {
    match error {
        MessageError::NotAMessage { .. } => Meaning::NotAMessage,
        _ => Meaning::NotJson,
    }
}

/// What was understood can be said again and is understood again.
fn check_round_trip(request: &Request<'_>) -> anyhow::Result<()> {
    let mut body = Vec::new();
    match request.timeout {
        Some(time) => {
            Request::encode_with_timeout(&mut body, &request.method, time, request.params)?;
        }
        None => Request::encode(&mut body, &request.method, request.params)?,
    }
    let again = Request::parse(&body).context("what was encoded does not parse")?;
    let same = again.method == request.method
        && again.timeout == request.timeout
        && again.params.get() == request.params.get();
    ensure!(same, "encoded and parsed again: {}", body.escape_ascii());
    Ok(())
}

/// What is wrong can be told in a short reply.
fn check_told(error: MessageError) -> anyhow::Result<()> {
    let mut body = Vec::new();
    Response::encode(&mut body, rpc_proto::ERROR_KIND, &RpcError::from(error))?;
    ensure!(body.len() <= MAX_ERROR_LEN, "an error of {} bytes", body.len());
    let reply = Response::parse(&body).context("the error does not parse")?;
    serde_json::from_str::<RpcError>(reply.result.get()).context("the error is none")?;
    Ok(())
}
