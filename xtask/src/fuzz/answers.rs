//! What a server must answer to a stream, known before it is sent.

use anyhow::{Context as _, bail, ensure};
use rpc_proto::{ERROR_KIND, ErrorCode, Response, RpcError};

use super::envelope::{self, Meaning};
use super::splitting::{End, Split};
use crate::methods::{ABORT, ECHO, PANIC, PI, SLEEP, SPIN};

/// Beyond this, `pi` takes its time.
const MAX_PI: u64 = 1000;

/// Servers may answer a shorter time-out with an error, and processes may end for it.
const MIN_TIMEOUT_MS: u64 = 60_000;

/// The answer to one request.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// This body, byte by byte.
    Exactly(String),
    /// A reply of this kind with any result.
    OfKind(&'static str),
    /// An error with one of these codes.
    Error(&'static [ErrorCode]),
}

/// The answers to a stream in their order, and whether the last of them ends the connection.
/// `None`: it asks for something that takes long or ends a process, which is not the subject here.
pub(super) fn expected(split: &Split<'_>) -> Option<Vec<Answer>> {
    let mut answers: Vec<Answer> =
        split.frames.iter().map(|frame| answer(frame.body)).collect::<Option<_>>()?;
    match split.end {
        End::Clean | End::Inside(_) => {}
        End::TooLarge { big_endian: false, .. } => {
            answers.push(Answer::Error(&[ErrorCode::FrameTooLarge]));
        }
        End::TooLarge { big_endian: true, .. } => {
            answers.push(Answer::Error(&[ErrorCode::FrameTooLarge, ErrorCode::WrongProtocol]));
        }
        End::Foreign(_) => answers.push(Answer::Error(&[ErrorCode::WrongProtocol])),
    }
    Some(answers)
}

/// The answer to one body. `None` as in [`expected`].
pub(super) fn answer(body: &[u8]) -> Option<Answer> {
    let (name, timeout_ms, payload) = match envelope::request(body) {
        Meaning::NotJson => return Some(Answer::Error(&[ErrorCode::ParseError])),
        Meaning::NotAMessage => return Some(Answer::Error(&[ErrorCode::InvalidRequest])),
        Meaning::Message { name, timeout_ms, payload } => (name, timeout_ms, payload),
    };
    if timeout_ms.is_some_and(|time| time < MIN_TIMEOUT_MS) {
        return None;
    }
    let params = payload.unwrap_or("null");
    let invalid = Answer::Error(&[ErrorCode::InvalidParams]);
    let name = name.as_str();
    let answer = if name == "ping" {
        Answer::Exactly(format!(r#"{{"out":"pong","result":{params}}}"#))
    } else if name == ECHO.name() {
        match serde_json::from_str::<String>(params) {
            Ok(text) => {
                let text = serde_json::to_string(&text).ok()?;
                Answer::Exactly(format!(r#"{{"out":"{}","result":{text}}}"#, ECHO.kind()))
            }
            Err(_) => invalid,
        }
    } else if name == PI.name() {
        match serde_json::from_str::<u64>(params) {
            Ok(n) if n > MAX_PI => return None,
            Ok(_) => Answer::OfKind(PI.kind()),
            Err(_) => invalid,
        }
    } else if name == PANIC.name() {
        match params {
            "null" => Answer::Error(&[ErrorCode::InternalError]),
            _ => invalid,
        }
    } else if name == "rpc.stats" {
        match params {
            "null" => Answer::OfKind("stats"),
            _ => invalid,
        }
    } else if [SLEEP.name(), ABORT.name(), SPIN.name()].contains(&name) {
        return None;
    } else {
        Answer::Error(&[ErrorCode::MethodNotFound])
    };
    Some(answer)
}

/// Compares the body of a reply with what it must be.
pub(super) fn check(body: &[u8], expected: &Answer) -> anyhow::Result<()> {
    let shown = body.escape_ascii();
    match expected {
        Answer::Exactly(exactly) => {
            ensure!(body == exactly.as_bytes(), "{shown}, not {}", exactly.escape_debug());
        }
        Answer::OfKind(kind) => {
            let reply = Response::parse(body).with_context(|| format!("{shown} is no reply"))?;
            ensure!(reply.kind == *kind, "{shown}, not a reply of the kind {kind}");
        }
        Answer::Error(codes) => {
            let reply = Response::parse(body).with_context(|| format!("{shown} is no reply"))?;
            ensure!(reply.kind == ERROR_KIND, "{shown}, not an error of {codes:?}");
            let error: RpcError = serde_json::from_str(reply.result.get())?;
            match error.known_code() {
                Some(code) if codes.contains(&code) => {}
                _ => bail!("{shown}, not an error of {codes:?}"),
            }
        }
    }
    Ok(())
}
