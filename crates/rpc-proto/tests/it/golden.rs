use std::time::Duration;

use rpc_proto::internal::{split_reply, split_request};
use rpc_proto::{FrameReader, FrameWriter, MAX_FRAME_LEN, Request, Response};

/// `{"in":"ping","params":"ireader 0"}`, 34 bytes, as this crate spells it.
const COMPACT_REQUEST: &str = "22000000 \
     7b 22696e22 3a 2270696e6722 2c 22706172616d7322 3a 22697265616465722030 22 7d";

/// `{"in": "ping", "params": "ireader 0"}`, 37 bytes, as Python's `json.dumps` spells it.
const PYTHON_REQUEST: &str = "25000000 \
     7b 22696e22 3a20 2270696e6722 2c20 22706172616d7322 3a20 22697265616465722030 22 7d";

/// `{"in":"ping","timeout_ms":2000,"params":"ireader 0"}`, 52 bytes, as this crate spells it.
const COMPACT_REQUEST_WITH_TIMEOUT: &str = "34000000 \
     7b 22696e22 3a 2270696e6722 2c 2274696d656f75745f6d7322 3a 32303030 \
     2c 22706172616d7322 3a 22697265616465722030 22 7d";

/// `{"in": "ping", "timeout_ms": 2000, "params": "ireader 0"}`, 57 bytes, as Python spells it.
const PYTHON_REQUEST_WITH_TIMEOUT: &str = "39000000 \
     7b 22696e22 3a20 2270696e6722 2c20 2274696d656f75745f6d7322 3a20 32303030 \
     2c20 22706172616d7322 3a20 22697265616465722030 22 7d";

/// `{"out":"pong","result":"ireader 0"}`, 35 bytes.
const COMPACT_REPLY: &str = "23000000 \
     7b 226f757422 3a 22706f6e6722 2c 22726573756c7422 3a 22697265616465722030 22 7d";

/// `{"out": "pong", "result": "ireader 0"}`, 38 bytes.
const PYTHON_REPLY: &str = "26000000 \
     7b 226f757422 3a20 22706f6e6722 2c20 22726573756c7422 3a20 22697265616465722030 22 7d";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn one_frame(hex: &str) -> Vec<u8> {
    let wire = bytes(hex);
    let mut reader = FrameReader::new(MAX_FRAME_LEN);
    assert_eq!(reader.read_from(&mut &wire[..]).unwrap(), wire.len());
    let body = reader.next_frame().unwrap().expect("a whole frame").to_vec();
    assert_eq!(reader.next_frame().unwrap(), None, "and nothing behind it");
    assert_eq!(reader.end_of_stream(), Ok(()));
    body
}

#[test]
fn a_request_is_read_in_both_usual_spellings() {
    let two_seconds = Some(Duration::from_secs(2));
    for (hex, timeout) in [
        (COMPACT_REQUEST, None),
        (PYTHON_REQUEST, None),
        (COMPACT_REQUEST_WITH_TIMEOUT, two_seconds),
        (PYTHON_REQUEST_WITH_TIMEOUT, two_seconds),
    ] {
        let body = one_frame(hex);
        let request = Request::parse(&body).unwrap();
        assert_eq!(request.method, "ping");
        assert_eq!(request.timeout, timeout);
        assert_eq!(request.params.get(), r#""ireader 0""#);
        let usual = split_request(str::from_utf8(&body).unwrap());
        assert_eq!(usual, Some(("ping", timeout, r#""ireader 0""#)), "the fast way");
    }
}

#[test]
fn a_reply_is_read_in_both_usual_spellings() {
    for hex in [COMPACT_REPLY, PYTHON_REPLY] {
        let body = one_frame(hex);
        let reply = Response::parse(&body).unwrap();
        assert_eq!(reply.kind, "pong");
        assert_eq!(reply.result.get(), r#""ireader 0""#);
        let usual = split_reply(str::from_utf8(&body).unwrap());
        assert_eq!(usual, Some(("pong", r#""ireader 0""#)), "the fast way");
    }
}

#[test]
fn what_is_written_is_the_compact_spelling() {
    let mut frames = FrameWriter::new();
    frames.append(|body| Request::encode(body, "ping", "ireader 0")).unwrap();
    assert_eq!(frames.as_bytes(), bytes(COMPACT_REQUEST));
    frames.clear();
    let timeout = Duration::from_secs(2);
    frames.append(|body| Request::encode_with_timeout(body, "ping", timeout, "ireader 0")).unwrap();
    assert_eq!(frames.as_bytes(), bytes(COMPACT_REQUEST_WITH_TIMEOUT));
    frames.clear();
    frames.append(|body| Response::encode(body, "pong", "ireader 0")).unwrap();
    assert_eq!(frames.as_bytes(), bytes(COMPACT_REPLY));
}

#[test]
fn a_refusal_is_written_with_code_message_and_data() {
    let mut frames = FrameWriter::new();
    let error = rpc_proto::RpcError::new(-32000, "busy").with_data(&[1]);
    frames.append(|body| Response::encode(body, rpc_proto::ERROR_KIND, &error)).unwrap();
    let body = br#"{"out":"error","result":{"code":-32000,"message":"busy","data":[1]}}"#;
    assert_eq!(frames.as_bytes()[..4], [body.len() as u8, 0, 0, 0]);
    assert_eq!(frames.as_bytes()[4..], body[..]);
}
