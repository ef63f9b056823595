//! Clients that misbehave. Each is told why it is turned away, in one way or another, and costs
//! nobody else anything.

use std::time::{Duration, Instant};

use rpc_client::{CallError, ErrorCode, Executed};

use super::dice::Dice;
use super::excuse;
use super::plan::{self, PATIENCE};
use super::raw::{Raw, frame, request};
use super::scene::Scene;
use crate::model::Model;

/// How long the handler of a late call sleeps, and how much time the call gives it. The answer
/// comes 250 ms after that at the latest, unless the machine is busy.
const LATE_HANDLER: Duration = Duration::from_secs(1);
const LATE_LIMIT: Duration = Duration::from_millis(20);

/// In `single` nobody else is served while one says nothing.
const PAUSE_IN_SINGLE: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug)]
enum Misdeed {
    /// Random bytes, framed as they should be.
    Garbage,
    /// Random bytes that announce more than 2 GiB.
    UnframedGarbage,
    Http,
    HalfAFrame,
    Silence,
    FrameTooLarge,
    InvalidJson,
    UnknownMethod,
    Panic,
    Late,
    HalfClose,
    ResetBehindARequest,
    ResetWithinAFrame,
    GoneAtOnce,
    NeverReads,
}

impl Misdeed {
    const ALL: [Misdeed; 15] = [
        Misdeed::Garbage,
        Misdeed::UnframedGarbage,
        Misdeed::Http,
        Misdeed::HalfAFrame,
        Misdeed::Silence,
        Misdeed::FrameTooLarge,
        Misdeed::InvalidJson,
        Misdeed::UnknownMethod,
        Misdeed::Panic,
        Misdeed::Late,
        Misdeed::HalfClose,
        Misdeed::ResetBehindARequest,
        Misdeed::ResetWithinAFrame,
        Misdeed::GoneAtOnce,
        Misdeed::NeverReads,
    ];
}

pub(super) fn misbehave(scene: &Scene<'_>, name: &str) {
    let mut dice = scene.dice(name);
    // Each of them once, in short runs too, and then at random.
    let mut first = Misdeed::ALL.to_vec();
    while scene.goes_on() {
        let misdeed = match first.len() {
            0 => dice.choose(&Misdeed::ALL),
            left => first.swap_remove(dice.below(left)),
        };
        let since = scene.since_now();
        let begun = Instant::now();
        let done = commit(scene, misdeed, &mut dice);
        let quiet = begun.elapsed();
        scene.tally.bad.add(1);
        match done {
            Ok(()) => {}
            Err(Surprise::Failed(error))
                if excuse::find(scene.model, scene.deeds, &error, since, quiet).is_some() => {}
            Err(Surprise::Failed(error)) => scene.tally.fail(format!(
                "{name}: {misdeed:?} ended after {quiet:?} in a way that nothing explains: \
                 {error} ({error:?})"
            )),
            Err(Surprise::Other(what)) => {
                scene.tally.fail(format!("{name}: {misdeed:?}, after {quiet:?}: {what}"));
            }
        }
        if scene.model == Model::Single {
            scene.pause(PAUSE_IN_SINGLE);
        }
    }
}

/// What came instead of the right answer.
enum Surprise {
    /// Perhaps there is an excuse.
    Failed(CallError),
    /// There is none.
    Other(String),
}

impl From<CallError> for Surprise {
    fn from(error: CallError) -> Surprise {
        Surprise::Failed(error)
    }
}

impl From<std::io::Error> for Surprise {
    fn from(error: std::io::Error) -> Surprise {
        Surprise::Other(error.to_string())
    }
}

fn commit(scene: &Scene<'_>, misdeed: Misdeed, dice: &mut Dice) -> Result<(), Surprise> {
    use ErrorCode::{
        DeadlineExceeded, FrameTooLarge, InternalError, InvalidRequest, MethodNotFound, ParseError,
        TimedOut, WrongProtocol,
    };
    let mut peer = Raw::connect(scene.address)?;
    match misdeed {
        Misdeed::Garbage => {
            let len = dice.below(200);
            let sent = peer.send(&frame(&dice.bytes(len)));
            expect(&mut peer, sent, &[ParseError, InvalidRequest])?;
            expect_service(&mut peer)
        }
        Misdeed::UnframedGarbage => {
            let mut bytes = dice.bytes(100);
            bytes[3] |= 0x80;
            let sent = peer.send(&bytes);
            expect(&mut peer, sent, &[FrameTooLarge, WrongProtocol])
        }
        Misdeed::Http => {
            let sent = peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
            expect(&mut peer, sent, &[WrongProtocol])
        }
        Misdeed::HalfAFrame => {
            let whole = request("ping", "\"never to be seen\"");
            let len = 1 + dice.below(whole.len() - 1);
            let sent = peer.send(&whole[..len]);
            expect(&mut peer, sent, &[TimedOut])
        }
        Misdeed::Silence => expect(&mut peer, Ok(()), &[TimedOut]),
        Misdeed::FrameTooLarge => {
            let len = u32::try_from(plan::MAX_FRAME_LEN + 1).expect("the limit is below 4 GiB");
            let sent = peer.send(&len.to_le_bytes());
            expect(&mut peer, sent, &[FrameTooLarge])
        }
        Misdeed::InvalidJson => {
            let sent = peer.send(&frame(br#"{"in":"ping","params":[1,}"#));
            expect(&mut peer, sent, &[ParseError])?;
            expect_service(&mut peer)
        }
        Misdeed::UnknownMethod => {
            let sent = peer.send(&request("there is none", "null"));
            expect(&mut peer, sent, &[MethodNotFound])?;
            expect_service(&mut peer)
        }
        Misdeed::Panic => {
            let sent = peer.send(&request("panic", "null"));
            expect(&mut peer, sent, &[InternalError])?;
            expect_service(&mut peer)
        }
        Misdeed::Late => {
            let (limit, sleep) = (LATE_LIMIT.as_millis(), LATE_HANDLER.as_millis());
            let call = format!(r#"{{"in":"sleep","timeout_ms":{limit},"params":{sleep}}}"#);
            let begun = Instant::now();
            let sent = peer.send(&frame(call.as_bytes()));
            expect(&mut peer, sent, &[DeadlineExceeded])?;
            // Its thread is lost until then, and too many of them would be a flood.
            scene.pause(LATE_HANDLER.saturating_sub(begun.elapsed()));
            Ok(())
        }
        Misdeed::HalfClose => {
            peer.send(&request("ping", "1"))?;
            // A server that has closed meanwhile, for a reason of its own, makes this fail.
            let _ = peer.half_close();
            peer.receive()?;
            expect_end(&mut peer)
        }
        Misdeed::ResetBehindARequest => {
            let _ = peer.send(&request("ping", "1"));
            Ok(peer.reset()?)
        }
        Misdeed::ResetWithinAFrame => {
            let _ = peer.send(&request("ping", "1")[..7]);
            Ok(peer.reset()?)
        }
        Misdeed::GoneAtOnce => Ok(()),
        Misdeed::NeverReads => {
            let text = dice.text("\"", 0).replace(['"', '\\'], "");
            let params = format!("\"{text}{}\"", "x".repeat(1_000_000));
            Ok(peer.send_until_closed(&request("ping", &params), PATIENCE)?)
        }
    }
}

/// The next reply is an error with one of these codes, and one that was not executed says so.
fn expect(
    peer: &mut Raw,
    sent: Result<(), CallError>,
    codes: &[ErrorCode],
) -> Result<(), Surprise> {
    let error = match (peer.receive(), sent) {
        (Ok(body), _) => {
            let body = String::from_utf8_lossy(&body).into_owned();
            return Err(Surprise::Other(format!("got the result {body}")));
        }
        // What the server said matters more than that it stopped reading.
        (Err(CallError::Closed(_)), Err(not_sent)) => not_sent,
        (Err(error), _) => error,
    };
    let code = error.rpc_error().and_then(|error| error.known_code());
    let Some(code) = code.filter(|code| codes.contains(code)) else {
        return Err(Surprise::Failed(error));
    };
    let right = match code {
        ErrorCode::InternalError => Executed::Yes,
        ErrorCode::DeadlineExceeded => Executed::Maybe,
        _ => Executed::No,
    };
    if error.executed() != right {
        return Err(Surprise::Other(format!("{error}, but {}", error.executed())));
    }
    Ok(())
}

/// The connection goes on.
fn expect_service(peer: &mut Raw) -> Result<(), Surprise> {
    let sent = peer.send(&request("ping", "\"still there?\""));
    match (peer.receive(), sent) {
        (Ok(body), _) if body == br#"{"out":"pong","result":"still there?"}"# => Ok(()),
        (Ok(body), _) => {
            Err(Surprise::Other(format!("got {} back", String::from_utf8_lossy(&body))))
        }
        (Err(CallError::Closed(_)), Err(not_sent)) => Err(not_sent.into()),
        (Err(error), _) => Err(error.into()),
    }
}

fn expect_end(peer: &mut Raw) -> Result<(), Surprise> {
    match peer.receive() {
        Err(CallError::Closed(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(body) => {
            let body = String::from_utf8_lossy(&body).into_owned();
            Err(Surprise::Other(format!("a second reply: {body}")))
        }
    }
}
