//! What a server must answer to a stream, known before it is sent.

use anyhow::{Context as _, bail, ensure};
use rpc_proto::{ERROR_KIND, ErrorCode, Response, RpcError};

use super::envelope::{self, Meaning};
use super::splitting::{End, Split};
use crate::serve::methods::{ABORT, BROOD, ECHO, HOLD, OVERFLOW, PANIC, PI, RAISE, SLEEP, SPIN};

/// Beyond this, `pi` takes its time.
const MAX_PI: u64 = 1000;

/// Shorter ones may be over before the answer is there, and then processes may end for it.
const MIN_TIMEOUT_MS: u64 = 60_000;

/// The answer to one request.
#[derive(Clone, Debug)]
pub(in crate::fuzz) enum Answer {
    /// This body, byte by byte.
    Exactly(String),
    /// A reply of this kind with any result.
    OfKind(&'static str),
    /// An error with one of these codes.
    Error(&'static [ErrorCode]),
}

/// The answers to a stream in their order, and whether the last of them ends the connection.
/// `None`: it asks for something that takes long or ends a process, which is not the subject here.
pub(in crate::fuzz) fn expected(split: &Split<'_>) -> Option<Vec<Answer>> {
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
pub(in crate::fuzz) fn answer(body: &[u8]) -> Option<Answer> {
    let (name, timeout_ms, payload) = match envelope::request(body) {
        Meaning::NotJson => return Some(Answer::Error(&[ErrorCode::ParseError])),
        Meaning::NotAMessage => return Some(Answer::Error(&[ErrorCode::InvalidRequest])),
        Meaning::Message { name, timeout_ms, payload } => (name, timeout_ms, payload),
    };
    if timeout_ms.is_some_and(|time| (1..MIN_TIMEOUT_MS).contains(&time)) {
        return None;
    }
    let is_over = timeout_ms == Some(0);
    let params = payload.unwrap_or("null");
    let invalid = Answer::Error(&[ErrorCode::InvalidParams]);
    let name = name.as_str();
    let answer = if is_dangerous(name) {
        return None;
    } else if is_over && ["ping", ECHO.name(), PI.name(), PANIC.name()].contains(&name) {
        // Nobody looks at the params of a call that is over before it begins.
        Answer::Error(&[ErrorCode::DeadlineExceeded])
    } else if name == "ping" {
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
    } else {
        Answer::Error(&[ErrorCode::MethodNotFound])
    };
    Some(answer)
}

/// Whether a call may take long or end its process.
fn is_dangerous(name: &str) -> bool {
    let deadly = [ABORT.name(), OVERFLOW.name(), RAISE.name()];
    let lasting = [SLEEP.name(), SPIN.name(), HOLD.name(), BROOD.name()];
    deadly.contains(&name) || lasting.contains(&name)
}

/// Compares the body of a reply with what it must be.
pub(in crate::fuzz) fn check(body: &[u8], expected: &Answer) -> anyhow::Result<()> {
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
