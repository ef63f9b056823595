//! Clients that misbehave. Each is told why it is rejected, in one way or another, and costs the
//! other clients nothing.

use std::time::{Duration, Instant};

use rpc_client::ErrorCode::{
    self, DeadlineExceeded, FrameTooLarge, InternalError, InvalidRequest, MethodNotFound,
    ParseError, TimedOut, WrongProtocol,
};
use rpc_client::{CallError, Executed};

use crate::model::Model;
use crate::raw::{Raw, frame, request};
use crate::soak::context::Context;
use crate::soak::context::plan::{self, TIMEOUT};
use crate::soak::context::rng::SeededRng;

/// How long the handler of a late call sleeps, and how much time the call gives it. The answer
/// comes 250 ms after that at the latest, unless the machine is busy.
const LATE_HANDLER: Duration = Duration::from_secs(1);
const LATE_LIMIT: Duration = Duration::from_millis(20);

/// In `single` nobody else is served while one says nothing.
const PAUSE_IN_SINGLE: Duration = Duration::from_millis(200);

/// A name, and what is done on a new connection.
type Misbehaviour = (&'static str, fn(&Context<'_>, &mut SeededRng, Raw) -> Result<(), Unexpected>);

const MISBEHAVIOURS: [Misbehaviour; 15] = [
    ("random bytes in a frame", |_, rng, mut peer| {
        let len = rng.below(200);
        expect(&mut peer, &frame(&rng.bytes(len)), &[ParseError, InvalidRequest])?;
        expect_service(&mut peer)
    }),
    ("random bytes that announce more than 2 GiB", |_, rng, mut peer| {
        let mut bytes = rng.bytes(100);
        bytes[3] |= 0x80;
        expect(&mut peer, &bytes, &[FrameTooLarge, WrongProtocol])
    }),
    ("HTTP", |_, _, mut peer| {
        expect(&mut peer, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", &[WrongProtocol])
    }),
    ("half a frame", |_, rng, mut peer| {
        let whole = request("ping", "\"never to be seen\"");
        let len = 1 + rng.below(whole.len() - 1);
        expect(&mut peer, &whole[..len], &[TimedOut])
    }),
    ("silence", |_, _, mut peer| expect(&mut peer, b"", &[TimedOut])),
    ("a frame that is too large", |_, _, mut peer| {
        let len = u32::try_from(plan::MAX_FRAME_LEN + 1).expect("the limit is below 4 GiB");
        expect(&mut peer, &len.to_le_bytes(), &[FrameTooLarge])
    }),
    ("invalid JSON", |_, _, mut peer| {
        expect(&mut peer, &frame(br#"{"in":"ping","params":[1,}"#), &[ParseError])?;
        expect_service(&mut peer)
    }),
    ("an unknown method", |_, _, mut peer| {
        expect(&mut peer, &request("there is none", "null"), &[MethodNotFound])?;
        expect_service(&mut peer)
    }),
    ("a panic", |_, _, mut peer| {
        expect(&mut peer, &request("panic", "null"), &[InternalError])?;
        expect_service(&mut peer)
    }),
    ("a handler that takes too long", |context, _, mut peer| {
        let (limit, sleep) = (LATE_LIMIT.as_millis(), LATE_HANDLER.as_millis());
        let call = format!(r#"{{"in":"sleep","timeout_ms":{limit},"params":{sleep}}}"#);
        let begun = Instant::now();
        expect(&mut peer, &frame(call.as_bytes()), &[DeadlineExceeded])?;
        // Its thread is lost until then, and too many of them would be a flood.
        context.pause(LATE_HANDLER.saturating_sub(begun.elapsed()));
        Ok(())
    }),
    ("half a close", |_, _, mut peer| {
        peer.send(&request("ping", "1"))?;
        // A server that has closed meanwhile, for a reason of its own, makes this fail.
        let _ = peer.half_close();
        peer.receive()?;
        expect_end(&mut peer)
    }),
    ("a reset behind a request", |_, _, mut peer| {
        let _ = peer.send(&request("ping", "1"));
        Ok(peer.reset()?)
    }),
    ("a reset within a frame", |_, _, mut peer| {
        let _ = peer.send(&request("ping", "1")[..7]);
        Ok(peer.reset()?)
    }),
    ("a close without a request", |_, _, _| Ok(())),
    ("replies that nobody reads", |_, rng, mut peer| {
        let text = rng.text("\"", 0).replace(['"', '\\'], "");
        let params = format!("\"{text}{}\"", "x".repeat(1_000_000));
        Ok(peer.send_until_closed(&request("ping", &params), TIMEOUT)?)
    }),
];

pub(crate) fn misbehave(context: &Context<'_>, name: &str) {
    let mut rng = context.rng(name);
    // Each of them once, in short runs too, and then at random.
    let mut first = MISBEHAVIOURS.to_vec();
    while context.goes_on() {
        let (what, misbehave) = match first.len() {
            0 => rng.choose(&MISBEHAVIOURS),
            left => first.swap_remove(rng.below(left)),
        };
        let since = context.since_now();
        let begun = Instant::now();
        let connected = Raw::connect(context.address, TIMEOUT).map_err(Unexpected::from);
        let done = connected.and_then(|peer| misbehave(context, &mut rng, peer));
        let quiet = begun.elapsed();
        context.results.bad.add(1);
        match done {
            Ok(()) => {}
            Err(Unexpected::Failed(error))
                if context.expected_failure(&error, since, quiet).is_some() => {}
            Err(Unexpected::Failed(error)) => context.results.fail(format!(
                "{name}: {what} ended after {quiet:?} in a way that nothing explains: \
                 {error} ({error:?})"
            )),
            Err(Unexpected::Other(found)) => {
                context.results.fail(format!("{name}: {what}, after {quiet:?}: {found}"));
            }
        }
        if context.model == Model::Single {
            context.pause(PAUSE_IN_SINGLE);
        }
    }
}

/// What came instead of the right answer.
enum Unexpected {
    /// Perhaps an injected fault explains it.
    Failed(CallError),
    /// Nothing explains it.
    Other(String),
}

impl Unexpected {
    fn reply(body: &[u8]) -> Unexpected {
        Unexpected::Other(format!("got the reply {}", String::from_utf8_lossy(body)))
    }
}

impl From<CallError> for Unexpected {
    fn from(error: CallError) -> Unexpected {
        Unexpected::Failed(error)
    }
}

impl From<std::io::Error> for Unexpected {
    fn from(error: std::io::Error) -> Unexpected {
        Unexpected::Other(error.to_string())
    }
}

/// Sends, and checks that the next reply is an error with one of these codes, and that one that was
/// not executed says so.
fn expect(peer: &mut Raw, bytes: &[u8], codes: &[ErrorCode]) -> Result<(), Unexpected> {
    let sent = peer.send(bytes);
    let error = match peer.receive_after(sent) {
        Ok(body) => return Err(Unexpected::reply(&body)),
        Err(error) => error,
    };
    let code = error.rpc_error().and_then(|error| error.known_code());
    let Some(code) = code.filter(|code| codes.contains(code)) else {
        return Err(Unexpected::Failed(error));
    };
    let right = match code {
        ErrorCode::InternalError => Executed::Yes,
        ErrorCode::DeadlineExceeded => Executed::Maybe,
        _ => Executed::No,
    };
    if error.executed() != right {
        return Err(Unexpected::Other(format!("{error}, but {}", error.executed())));
    }
    Ok(())
}

/// The connection goes on.
fn expect_service(peer: &mut Raw) -> Result<(), Unexpected> {
    let sent = peer.send(&request("ping", "\"still there?\""));
    match peer.receive_after(sent)? {
        body if body == br#"{"out":"pong","result":"still there?"}"# => Ok(()),
        body => Err(Unexpected::reply(&body)),
    }
}

fn expect_end(peer: &mut Raw) -> Result<(), Unexpected> {
    match peer.receive() {
        Err(CallError::Closed(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Ok(())
        }
        Err(error) => Err(error.into()),
        Ok(body) => Err(Unexpected::reply(&body)),
    }
}
