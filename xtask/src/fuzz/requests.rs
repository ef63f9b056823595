//! The parser of requests and replies: it agrees with the plain reading of every body, and so does
//! the fast way for usual spellings. What reads and writes strings agrees with serde_json.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use fastrand::Rng;
use rpc_proto::internal::{check_json, parse_json, split_request};
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
    check(&body).with_context(|| format!("body {}", body.escape_ascii()))?;
    let mut text = String::from_utf8_lossy(&body).into_owned();
    if random.u8(0..8) == 0 && text.len() < 300 {
        // Strings are looked at in blocks, so the same text has to stand at any place of a block.
        text.insert_str(0, &"x".repeat(random.usize(..40)));
        text = text.repeat(random.usize(..20));
    }
    check_string(&text).with_context(|| format!("string {}", text.escape_debug()))
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
    if let Some((method, timeout, params)) = split_request(text)
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

/// A string is written and read as serde_json does it, whether it is one itself or not.
fn check_string(text: &str) -> anyhow::Result<()> {
    let quoted = serde_json::to_string(text)?;
    let mut body = Vec::new();
    Request::encode(&mut body, text, text)?;
    let expected = format!(r#"{{"in":{quoted},"params":{quoted}}}"#);
    ensure!(body == expected.as_bytes(), "written as {}", body.escape_ascii());
    check_parsed::<String>(&quoted)?;
    check_parsed::<Option<String>>(text)?;
    check_parsed::<String>(&format!("\"{text}\""))?;
    check_parsed::<serde_json::Value>(text)
}

fn check_parsed<'a, Value: Deserialize<'a> + PartialEq>(text: &'a str) -> anyhow::Result<()> {
    let (ours, theirs) = (parse_json::<Value>(text), serde_json::from_str::<Value>(text));
    ensure!(ours.as_ref().ok() == theirs.as_ref().ok(), "parsed as another value");
    let (ours, theirs) = (check_json(text), serde_json::from_str::<&RawValue>(text));
    let (ours, theirs) = (ours.map(RawValue::get).ok(), theirs.map(RawValue::get).ok());
    ensure!(ours == theirs, "checked: {ours:?}, not {theirs:?}");
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
