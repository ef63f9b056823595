use std::io::Read;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use rpc_proto::internal::{split_reply, split_request};
use rpc_proto::{FrameError, FrameReader, FrameWriter, Request, Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::reading::frame;

const LIMIT: usize = 4096;

/// Any JSON value, a few levels deep. Doubles are finite, since JSON has no others.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::num::f64::NORMAL.prop_map(Value::from),
        prop::num::f64::SUBNORMAL.prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((any::<String>(), inner), 0..6)
                .prop_map(|entries| Value::from(entries.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// Names with the characters that need care more often than chance would have them.
fn any_name() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        any::<char>(),
        prop::sample::select(vec![
            '"', '\\', '/', '\0', '\n', '\u{7f}', '\u{2028}', '{', '}', '😀'
        ]),
        prop::char::range('a', 'z'),
    ];
    vec(character, 0..12).prop_map(String::from_iter)
}

/// Pieces from which messages are made: put together at random they are nearly one.
const FRAGMENTS: [&str; 40] = [
    r#"{"in":""#,
    r#"{"in": ""#,
    r#"","params":"#,
    r#"", "params": "#,
    r#"","timeout_ms":"#,
    r#"", "timeout_ms": "#,
    r#","params":"#,
    r#","timeout_ms":3"#,
    "0",
    "99999999999999999999",
    r#"{"out":""#,
    r#"{"out": ""#,
    r#"","result":"#,
    r#"", "result": "#,
    "}",
    "{",
    "]",
    "[",
    "\"",
    "\\",
    ",",
    ":",
    " ",
    "\n",
    "\t",
    "1",
    "-0",
    "1.5",
    "e9",
    "null",
    "tru",
    "true",
    "\"x\"",
    r#""in":"y""#,
    r#","params":2"#,
    r#","result":2"#,
    r#"\u0069"#,
    r#"\ud800"#,
    "é",
    "\u{1}",
];

/// The same for names: half of these end the fast way.
const NAME_FRAGMENTS: [&str; 10] =
    ["ping", "é", "\u{7f}", "}", r"\n", r#"\""#, r"\", r"\ud800", "\n", "\""];

/// Requests or replies in a usual spelling whose name and payload are JSON or only look like it,
/// with up to three edits somewhere.
pub(crate) fn near_misses() -> impl Strategy<Value = String> {
    let fragment = || prop::sample::select(&FRAGMENTS[..]);
    let payload = prop_oneof![
        any_json().prop_map(|value| value.to_string()),
        vec(fragment(), 0..5).prop_map(|parts| parts.concat()),
    ];
    let name = vec(prop::sample::select(&NAME_FRAGMENTS[..]), 0..3);
    let name = name.prop_map(|parts| parts.concat());
    let envelope = prop::sample::select(vec![
        (r#"{"in":""#, r#"","params":"#, "}"),
        (r#"{"in": ""#, r#"", "params": "#, "}"),
        (r#"{"in":""#, r#"","timeout_ms":20,"params":"#, "}"),
        (r#"{"in": ""#, r#"", "timeout_ms": 20, "params": "#, "}"),
        (r#"{"in":""#, r#"","timeout_ms":,"params":"#, "}"),
        (r#"{"in":""#, r#"","timeout_ms":00,"params":"#, "}"),
        (r#"{"in":""#, r#"","timeout_ms":18446744073709551615,"params":"#, "}"),
        (r#"{"in": ""#, r#"", "timeout_ms": 18446744073709551616, "params": "#, "}"),
        (r#"{"in":""#, r#"","timeout_ms":null,"params":"#, "}"),
        (r#"{"out":""#, r#"","result":"#, "}"),
        (r#"{"out": ""#, r#"", "result": "#, "}"),
        ("", "", ""),
    ]);
    let edits = vec((any::<prop::sample::Index>(), any::<bool>(), fragment()), 0..3);
    (envelope, name, payload, edits).prop_map(|((start, middle, end), name, payload, edits)| {
        let mut text: Vec<char> = [start, &name, middle, &payload, end].concat().chars().collect();
        for (place, delete, fragment) in edits {
            let at = place.index(text.len() + 1);
            if delete && at < text.len() {
                text.remove(at);
            } else {
                text.splice(at..at, fragment.chars());
            }
        }
        text.into_iter().collect()
    })
}

/// The promise of `split_request`: who parses its payload as a `T` has what `parse` would have
/// given.
fn check_fast_request<'a, T: Deserialize<'a>>(body: &'a str) {
    if let Some((method, timeout, payload)) = split_request(body)
        && serde_json::from_str::<T>(payload).is_ok()
    {
        let request = Request::parse(body.as_bytes()).expect(body);
        assert_eq!(request.method, method, "{body}");
        assert_eq!(request.timeout, timeout, "{body}");
        let raw: &RawValue = serde_json::from_str(payload).expect(body);
        assert_eq!(request.params.get(), raw.get(), "{body}");
    }
}

fn check_fast_reply<'a, T: Deserialize<'a>>(body: &'a str) {
    if let Some((kind, payload)) = split_reply(body)
        && serde_json::from_str::<T>(payload).is_ok()
    {
        let reply = Response::parse(body.as_bytes()).expect(body);
        assert_eq!(reply.kind, kind, "{body}");
        let raw: &RawValue = serde_json::from_str(payload).expect(body);
        assert_eq!(reply.result.get(), raw.get(), "{body}");
    }
}

pub(crate) fn check_fast<'a, T: Deserialize<'a>>(body: &'a str) {
    check_fast_request::<T>(body);
    check_fast_reply::<T>(body);
}

/// An object with an optional field and an ignored rest, as handlers often take it.
#[derive(Deserialize)]
#[allow(dead_code)]
struct Options {
    #[serde(default)]
    params: Option<Value>,
}

/// Name, time-out and payload. `Response::parse` takes the fast way itself; this is what it has to
/// agree with.
pub(crate) fn by_value<'a>(
    body: &'a str,
    name: &str,
    payload: &str,
) -> Option<(String, Option<Duration>, Option<&'a RawValue>)> {
    let fields: Vec<(String, &RawValue)> = all_fields(body)?;
    let mut found = (None, None);
    let mut timeout = None;
    for (key, raw) in fields {
        if key == name && found.0.replace(serde_json::from_str::<String>(raw.get()).ok()?).is_some()
        {
            return None;
        }
        if key == payload && found.1.replace(raw).is_some() {
            return None;
        }
        let is_timeout = name == "in" && key == "timeout_ms";
        if is_timeout && timeout.replace(as_timeout(raw)?).is_some() {
            return None;
        }
    }
    Some((found.0?, timeout.flatten(), found.1))
}

/// The outer `None`: it is none.
fn as_timeout(raw: &RawValue) -> Option<Option<Duration>> {
    let is_digit = |character| char::is_ascii_digit(&character);
    match raw.get() {
        "null" => Some(None),
        digits if digits.chars().all(is_digit) => {
            Some(Some(Duration::from_millis(digits.parse().unwrap_or(u64::MAX))))
        }
        _ => None,
    }
}

/// The fields of a JSON object in their order, doubles included.
fn all_fields(body: &str) -> Option<Vec<(String, &RawValue)>> {
    struct Fields<'a>(Vec<(String, &'a RawValue)>);
    impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;
            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Fields<'de>;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(
                    self,
                    mut map: A,
                ) -> Result<Fields<'de>, A::Error> {
                    let mut fields = Vec::new();
                    while let Some(field) = map.next_entry()? {
                        fields.push(field);
                    }
                    Ok(Fields(fields))
                }
            }
            deserializer.deserialize_map(Visitor)
        }
    }
    Some(serde_json::from_str::<Fields<'_>>(body).ok()?.0)
}

proptest! {
    #[test]
    fn bodies_are_the_same_however_they_are_cut(
        bodies in vec(vec(any::<u8>(), 0..200), 0..20),
        pieces in vec(1_usize..400, 1..50),
        drain in any::<bool>(),
    ) {
        let wire: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
        let mut reader = FrameReader::new(LIMIT);
        let mut came = Vec::new();
        let mut rest = &wire[..];
        let mut pieces = pieces.iter().cycle();
        while !rest.is_empty() {
            let mut piece = rest.take(*pieces.next().unwrap() as u64);
            let count = reader.read_from(&mut piece).unwrap();
            prop_assert!(count > 0, "0 means the end");
            rest = &rest[count..];
            while drain && let Some(body) = reader.next_frame().unwrap() {
                came.push(body.to_vec());
            }
        }
        while let Some(body) = reader.next_frame().unwrap() {
            came.push(body.to_vec());
        }
        prop_assert_eq!(came, bodies);
        prop_assert_eq!(reader.end_of_stream(), Ok(()));
    }

    #[test]
    fn a_body_beyond_the_limit_ends_the_stream_behind_those_before_it(
        bodies in vec(vec(any::<u8>(), 0..60), 1..12),
        limit in 0_usize..60,
        piece in 1_usize..200,
        drain in any::<bool>(),
    ) {
        let wire: Vec<u8> = bodies.iter().flat_map(|body| frame(body)).collect();
        let mut reader = FrameReader::new(limit);
        let mut came = Vec::new();
        let mut end = None;
        for mut source in wire.chunks(piece) {
            while !source.is_empty() {
                reader.read_from(&mut source).unwrap();
                while drain && end.is_none() {
                    match reader.next_frame() {
                        Ok(Some(body)) => came.push(body.to_vec()),
                        Ok(None) => break,
                        Err(error) => end = Some(error),
                    }
                }
            }
        }
        while end.is_none() {
            match reader.next_frame() {
                Ok(Some(body)) => came.push(body.to_vec()),
                Ok(None) => break,
                Err(error) => end = Some(error),
            }
        }
        let whole = bodies.iter().take_while(|body| body.len() <= limit).count();
        prop_assert_eq!(&came[..], &bodies[..whole]);
        let too_large =
            bodies.get(whole).map(|body| FrameError::TooLarge { len: body.len(), max: limit });
        prop_assert_eq!(end, too_large);
    }

    #[test]
    fn no_bytes_panic_the_reader_or_make_it_hold_much(
        bytes in vec(prop_oneof![any::<u8>(), Just(0)], 0..600),
        piece in 1_usize..300,
        limit in prop_oneof![Just(0), Just(LIMIT), Just(usize::MAX)],
    ) {
        let mut reader = FrameReader::new(limit);
        let mut received = 0;
        'stream: for chunk in bytes.chunks(piece) {
            let mut source = chunk;
            while !source.is_empty() {
                received += reader.read_from(&mut source).unwrap();
                prop_assert!(reader.capacity() <= 1024.max(2 * received));
                loop {
                    let ready = reader.frame_is_ready();
                    let next = reader.next_frame();
                    prop_assert_eq!(ready, !matches!(next, Ok(None)));
                    match next {
                        Ok(Some(body)) => {
                            // Whatever it is, parsing it gives an answer.
                            let _ = (Request::parse(body), Response::parse(body));
                        }
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back(name in any_name(), value in any_json()) {
        let mut frames = FrameWriter::new();
        frames.append(|body| Request::encode(body, &name, &value)).unwrap();
        frames.append(|body| Response::encode(body, &name, &value)).unwrap();
        let mut reader = FrameReader::new(usize::MAX);
        let mut wire = frames.as_bytes();
        while !wire.is_empty() {
            reader.read_from(&mut wire).unwrap();
        }
        let request = Request::parse(reader.next_frame().unwrap().unwrap()).unwrap();
        prop_assert_eq!(&*request.method, name.as_str());
        prop_assert_eq!(serde_json::from_str::<Value>(request.params.get()).unwrap(), value.clone());
        let reply = Response::parse(reader.next_frame().unwrap().unwrap()).unwrap();
        prop_assert_eq!(&*reply.kind, name.as_str());
        prop_assert_eq!(serde_json::from_str::<Value>(reply.result.get()).unwrap(), value);
        prop_assert_eq!(reader.end_of_stream(), Ok(()));
    }

    #[test]
    fn a_timeout_is_read_back_to_the_millisecond_on_both_ways(
        name in any_name(),
        value in any_json(),
        milliseconds in prop_oneof![any::<u64>(), 0..100_000_u64],
    ) {
        let timeout = Duration::from_millis(milliseconds);
        let mut body = Vec::new();
        Request::encode_with_timeout(&mut body, &name, timeout, &value).unwrap();
        let request = Request::parse(&body).unwrap();
        prop_assert_eq!(&*request.method, name.as_str());
        prop_assert_eq!(request.timeout, Some(timeout));
        if let Some((_, usual, _)) = split_request(str::from_utf8(&body).unwrap()) {
            prop_assert_eq!(usual, Some(timeout));
        }
    }

    #[test]
    fn every_double_stays_the_same_bits(value in any::<f64>()) {
        prop_assume!(value.is_finite());
        let mut body = Vec::new();
        Request::encode(&mut body, "m", &value).unwrap();
        let read: f64 = serde_json::from_str(Request::parse(&body).unwrap().params.get()).unwrap();
        prop_assert_eq!(read.to_bits(), value.to_bits());
    }
}

proptest! {
    // Most of these inputs are no messages at all, so more of them are needed.
    #![proptest_config(ProptestConfig::with_cases(700))]

    #[test]
    fn the_fast_way_agrees_with_the_parser(body in near_misses()) {
        check_fast::<&RawValue>(&body);
        check_fast::<Value>(&body);
        check_fast::<serde::de::IgnoredAny>(&body);
        check_fast::<()>(&body);
        check_fast::<String>(&body);
        check_fast::<f64>(&body);
        check_fast::<i128>(&body);
        check_fast::<Vec<Value>>(&body);
        check_fast::<Option<String>>(&body);
        check_fast::<Option<()>>(&body);
        check_fast::<(f64, Option<bool>)>(&body);
        check_fast::<Options>(&body);
    }

    #[test]
    fn the_parser_agrees_with_looking_at_every_field(body in near_misses()) {
        let request = Request::parse(body.as_bytes()).ok();
        let fields = by_value(&body, "in", "params");
        prop_assert_eq!(
            request.map(|request| {
                (request.method.into_owned(), request.timeout, request.params.get())
            }),
            fields.map(|(name, time, raw)| (name, time, raw.map_or("null", RawValue::get)))
        );
        let reply = Response::parse(body.as_bytes()).ok();
        let fields = by_value(&body, "out", "result");
        prop_assert_eq!(
            reply.map(|reply| (reply.kind.into_owned(), reply.result.get())),
            fields.and_then(|(name, _, raw)| Some((name, raw?.get())))
        );
    }
}
