use std::io::{self, ErrorKind, Read};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use rpc_proto::ForeignProtocol::{BareJson, BigEndianPrefix, Http, Tls};
use rpc_proto::{
    ERROR_KIND, ForeignProtocol, FrameError, FrameReader, MessageError, Request, Response, RpcError,
};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::properties::{by_value, check_fast, near_misses};
use crate::reading::frame;

/// The longest body that the reader takes, in bytes.
const LIMIT: usize = 4096;

/// Until it has so much to hold, in bytes, a reader may hold this.
const SMALL_LEN: usize = 1024;

/// An error repeats little of what came, in bytes.
const MAX_ERROR_LEN: usize = 400;

/// What comes behind the last whole frame.
#[derive(Clone, Debug)]
enum End {
    Clean,
    /// A frame of which something is missing.
    Inside(Vec<u8>),
    TooLarge {
        len: u32,
        behind: Vec<u8>,
    },
    /// Instead of the first frame.
    Foreign(ForeignProtocol, Vec<u8>),
}

fn any_end() -> impl Strategy<Value = End> {
    let bytes = |most| vec(any::<u8>(), 0..most);
    let inside = (bytes(400), any::<Index>()).prop_map(|(body, cut)| {
        let whole = frame(&body);
        End::Inside(whole[..cut.index(whole.len() - 1) + 1].to_vec())
    });
    let too_large = (LIMIT as u32 + 1..=u32::MAX, bytes(200))
        .prop_map(|(len, behind)| End::TooLarge { len, behind });
    let starts: [(_, &[u8]); 6] = [
        (Http, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (Http, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (Tls, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        (Tls, b"\x16\x03\x01\x00\x50\x01\x00\x00\x4c"),
        (BareJson, b"{\"in\":\"ping\",\"params\":1}\n"),
        (BareJson, b" \r\n[1]"),
    ];
    let foreign = (select(starts.to_vec()), bytes(200))
        .prop_map(|((protocol, start), behind)| End::Foreign(protocol, [start, &behind].concat()));
    let big_endian = ("[a-z]{0,500}", bytes(200)).prop_map(|(name, behind)| {
        let body = format!(r#"{{"in":"{name}"}}"#).into_bytes();
        let prefix = (body.len() as u32).to_be_bytes();
        End::Foreign(BigEndianPrefix, [&prefix[..], &body, &behind].concat())
    });
    prop_oneof![Just(End::Clean), inside, too_large, foreign, big_endian]
}

/// What is done next with a stream that arrives.
#[derive(Clone, Debug)]
struct Turn {
    /// At most so many bytes come.
    len: usize,
    /// The first read is interrupted, or there is nothing yet.
    fails: Option<ErrorKind>,
    /// The caller takes the frames that are there before it reads on.
    takes: bool,
    shrinks: bool,
}

fn any_turns() -> impl Strategy<Value = Vec<Turn>> {
    let lens = select(vec![1_usize, 3, 64, 1000, 10_000]).prop_flat_map(|most| 1..=most);
    let fails = prop_oneof![
        6 => Just(None),
        1 => Just(Some(ErrorKind::Interrupted)),
        1 => Just(Some(ErrorKind::WouldBlock)),
    ];
    let turn = (lens, fails, any::<bool>(), prop::bool::weighted(0.1));
    vec(turn.prop_map(|(len, fails, takes, shrinks)| Turn { len, fails, takes, shrinks }), 1..40)
}

/// Gives what one turn allows.
struct Source<'a> {
    rest: &'a [u8],
    turn: Turn,
}

impl Read for Source<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        assert!(!buffer.is_empty(), "a read without room would look like the end");
        if let Some(kind) = self.turn.fails.take() {
            return Err(kind.into());
        }
        let count = self.turn.len.min(buffer.len()).min(self.rest.len());
        let (piece, rest) = self.rest.split_at(count);
        buffer[..count].copy_from_slice(piece);
        self.rest = rest;
        Ok(count)
    }
}

/// Reads to the end of a stream, or to the first error.
fn read_in_turns(stream: &[u8], turns: &[Turn]) -> (Vec<Vec<u8>>, Result<(), FrameError>) {
    let mut reader = FrameReader::new(LIMIT);
    let mut source = Source { rest: stream, turn: turns[0].clone() };
    let (mut came, mut received, mut has_ended) = (Vec::new(), 0, false);
    for turn in turns.iter().cycle() {
        if turn.takes || has_ended {
            loop {
                let ready = reader.frame_is_ready();
                let next = reader.next_frame();
                assert_eq!(ready, !matches!(next, Ok(None)));
                match next {
                    Ok(Some(body)) => came.push(body.to_vec()),
                    Ok(None) => break,
                    Err(error) => {
                        // More bytes may say more precisely what is wrong.
                        if reader.is_in_doubt() && !has_ended {
                            break;
                        }
                        return (came, Err(error));
                    }
                }
            }
        }
        if has_ended {
            break;
        }
        if turn.shrinks {
            reader.shrink();
        }
        source.turn = turn.clone();
        let count = loop {
            match reader.read_from(&mut source) {
                Ok(count) => break count,
                Err(error) => assert_eq!(Some(error.kind()), turn.fails),
            }
        };
        received += count;
        has_ended = count == 0;
        let capacity = reader.capacity();
        assert!(capacity <= SMALL_LEN.max(2 * received), "{capacity} held for {received}");
    }
    let end = reader.end_of_stream();
    (came, end)
}

/// Requests that a server takes, in every spelling that the protocol allows.
const REQUESTS: [&str; 8] = [
    r#"{"in": "ping", "timeout_ms": 90000, "params": {"a": 1.50}}"#,
    r#"{"params":"before the name","in":"ping"}"#,
    r#"{"timeout_ms":null,"params":null,"in":"ping"}"#,
    r#"{"in":"ping"}"#,
    r#"{"in":"ping","params":null,"id":7,"jsonrpc":"2.0"}"#,
    r#"{"in":"p\u0069ng","params":"text with \" and \\ and \u00e9 and 😀"}"#,
    " {\t\"in\" : \"ping\" ,\r\n\"params\" : [ ] } ",
    r#"{"in":"ping","params":{"in":"ping","params":{"params":"}"}}}"#,
];

/// Pieces in which parsers have gone wrong. Many are no UTF-8: alone, cut short, too long, a
/// surrogate, beyond the last character.
const PIECES: [&[u8]; 24] = [
    b"\xff",
    b"\x80",
    b"\xc3",
    b"\xf0\x9f\x98",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xef\xbb\xbf",
    b"\0",
    b"\x1f",
    b"\\ud800\\ud800",
    b"\\ud83d\\ude00",
    b"\\u00",
    b"\\x41",
    b",\"in\":\"echo\"",
    b",\"params\":1",
    b",\"timeout_ms\":0.5",
    b",\"timeout_ms\":18446744073709551616",
    b"\", \"params\": ",
    b"1e309",
    b"-1e-999999999",
    b"9007199254740993",
    b"NaN",
    b"{\"out\":\"",
];

/// Small damage to a body.
#[derive(Clone, Debug)]
enum Damage {
    Insert(&'static [u8]),
    Flip(u8),
    Remove(usize),
    Repeat(usize),
    Truncate,
    /// Puts what stands behind the last colon so deep into arrays.
    Nest(usize),
}

fn any_damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => select(&PIECES[..]).prop_map(Damage::Insert),
        2 => (0..8_u8).prop_map(Damage::Flip),
        1 => (1..9_usize).prop_map(Damage::Remove),
        1 => (1..40_usize).prop_map(Damage::Repeat),
        1 => Just(Damage::Truncate),
        1 => prop_oneof![1..200_usize, 1..10_000_usize].prop_map(Damage::Nest),
    ]
}

fn damage(body: &mut Vec<u8>, at: usize, damage: Damage) {
    let body_len = body.len();
    let range = |len: usize| at..(at + len).min(body_len);
    match damage {
        Damage::Insert(piece) => drop(body.splice(at..at, piece.iter().copied())),
        Damage::Flip(bit) => body[range(1)].iter_mut().for_each(|byte| *byte ^= 1 << bit),
        Damage::Remove(len) => drop(body.drain(range(len))),
        Damage::Repeat(len) => body.extend_from_within(range(len)),
        Damage::Truncate => body.truncate(at),
        Damage::Nest(depth) => {
            let colon = body.iter().rposition(|byte| *byte == b':').map_or(0, |colon| colon + 1);
            let end = body.len().saturating_sub(1).max(colon);
            body.splice(end..end, vec![b']'; depth]);
            body.splice(colon..colon, vec![b'['; depth]);
        }
    }
}

fn damaged_bodies() -> impl Strategy<Value = Vec<u8>> {
    let good = select(&REQUESTS[..]).prop_map(str::to_owned);
    let body = prop_oneof![good, near_misses()].prop_map(String::into_bytes);
    (body, vec((any::<Index>(), any_damage()), 0..4)).prop_map(|(mut body, damages)| {
        for (place, each) in damages {
            let at = place.index(body.len() + 1);
            damage(&mut body, at, each);
        }
        body
    })
}

/// What is wrong with a body that is no message: it is no JSON text, or it is another one.
fn check_error(body: &[u8], error: MessageError) {
    let text = str::from_utf8(body);
    let is_json = text.is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    assert_eq!(matches!(error, MessageError::NotAMessage { .. }), is_json, "{error:?}");
    // It can be told in a short reply.
    let mut reply = Vec::new();
    Response::encode(&mut reply, ERROR_KIND, &RpcError::from(error)).unwrap();
    assert!(reply.len() <= MAX_ERROR_LEN, "an error of {} bytes", reply.len());
    let told = Response::parse(&reply).unwrap();
    serde_json::from_str::<RpcError>(told.result.get()).unwrap();
}

/// What was understood can be said again and is understood again.
fn check_round_trip(request: &Request<'_>) {
    let mut body = Vec::new();
    match request.timeout {
        Some(time) => {
            Request::encode_with_timeout(&mut body, &request.method, time, request.params).unwrap();
        }
        None => Request::encode(&mut body, &request.method, request.params).unwrap(),
    }
    let again = Request::parse(&body).unwrap();
    assert_eq!((&again.method, again.timeout), (&request.method, request.timeout));
    assert_eq!(again.params.get(), request.params.get());
}

proptest! {
    // As many as a run of the checks tried when these were cases of a fuzzer.
    #![proptest_config(ProptestConfig::with_cases(6000))]

    #[test]
    fn a_stream_gives_its_frames_and_then_its_end(
        bodies in vec(vec(any::<u8>(), 0..300), 0..8),
        long in prop::option::weighted(0.2, vec(any::<u8>(), 0..LIMIT)),
        end in any_end(),
        turns in any_turns(),
    ) {
        let mut bodies: Vec<_> = bodies.into_iter().chain(long).collect();
        match end {
            End::Foreign(..) => bodies.clear(),
            // As the first frame it might be another protocol.
            End::TooLarge { .. } if bodies.is_empty() => bodies.push(Vec::new()),
            _ => {}
        }
        let mut stream: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
        let expected = match end {
            End::Clean => Ok(()),
            End::Inside(part) => {
                stream.extend_from_slice(&part);
                Err(FrameError::Truncated { have: part.len() })
            }
            End::TooLarge { len, behind } => {
                stream.extend_from_slice(&len.to_le_bytes());
                stream.extend_from_slice(&behind);
                Err(FrameError::TooLarge { len: len as usize, max: LIMIT })
            }
            End::Foreign(protocol, bytes) => {
                stream = bytes;
                Err(FrameError::Foreign(protocol))
            }
        };
        prop_assert_eq!(read_in_turns(&stream, &turns), (bodies, expected));
    }

    #[test]
    fn a_damaged_body_is_understood_field_by_field_or_refused(body in damaged_bodies()) {
        let text = str::from_utf8(&body).ok();
        let request = text.and_then(|text| by_value(text, "in", "params"));
        match Request::parse(&body) {
            Ok(parsed) => {
                let found = (&*parsed.method, parsed.timeout, parsed.params.get());
                let (name, time, params) = request.expect("not a request");
                prop_assert_eq!(found, (&*name, time, params.map_or("null", RawValue::get)));
                check_round_trip(&parsed);
            }
            Err(error) => {
                prop_assert!(request.is_none(), "{:?}", error);
                check_error(&body, error);
            }
        }
        let reply = text.and_then(|text| by_value(text, "out", "result"));
        match Response::parse(&body) {
            Ok(parsed) => {
                let (kind, _, result) = reply.expect("not a reply");
                let result = result.map(RawValue::get);
                prop_assert_eq!((&*parsed.kind, Some(parsed.result.get())), (&*kind, result));
            }
            Err(error) => {
                prop_assert!(reply.is_none_or(|(_, _, result)| result.is_none()), "{:?}", error);
                check_error(&body, error);
            }
        }
        if let Some(text) = text {
            check_fast::<&RawValue>(text);
            check_fast::<IgnoredAny>(text);
            check_fast::<String>(text);
            check_fast::<u64>(text);
            check_fast::<()>(text);
        }
    }
}
