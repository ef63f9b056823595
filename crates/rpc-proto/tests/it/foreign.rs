use rpc_proto::ForeignProtocol::{BareJson, BigEndianPrefix, Http, Tls};
use rpc_proto::{ForeignProtocol, FrameError, FrameReader, MAX_FRAME_LEN};

use crate::reading::frame;

/// What the reader says about a stream of these bytes, one at a time and all at once.
fn check(stream: &[u8], max_frame_len: usize, expected: ForeignProtocol) {
    for step in [1, stream.len()] {
        let mut reader = FrameReader::new(max_frame_len);
        let mut said = None;
        for bytes in stream.chunks(step) {
            reader.read_from(&mut &bytes[..]).unwrap();
            if let Err(error) = reader.next_frame() {
                said = Some(error);
                assert!(reader.frame_is_ready(), "{}", stream.escape_ascii());
                break;
            }
        }
        let expected = Some(FrameError::Foreign(expected));
        assert_eq!(said, expected, "{}", stream.escape_ascii());
    }
}

#[test]
fn http_is_named() {
    for start in [
        "GET / HTTP/1.1\r\n",
        "POST /rpc HTTP/1.1\r\n",
        "PUT / HTTP/1.0\r\n",
        "HEAD / HTTP/1.1\r\n",
        "DELETE / HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "PATCH / HTTP/1.1\r\n",
        "CONNECT host:443 HTTP/1.1\r\n",
        "TRACE / HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "HTTP/1.1 400 Bad Request\r\n",
    ] {
        check(start.as_bytes(), MAX_FRAME_LEN, Http);
        check(start.as_bytes(), 0, Http);
    }
}

#[test]
fn tls_is_named_whatever_the_length_of_its_hello() {
    for version in 0..=4 {
        for length in [[0x00, 0x40], [0x00, 0xff], [0x02, 0x00], [0x3f, 0xff]] {
            let [high, low] = length;
            let hello = [0x16, 0x03, version, high, low, 0x01, 0x00, 0x00, 0xc4, 0x03, 0x03];
            for max_frame_len in [0, 1000, MAX_FRAME_LEN, usize::MAX] {
                check(&hello, max_frame_len, Tls);
            }
        }
    }
}

#[test]
fn a_big_endian_prefix_is_named_by_the_request_behind_it() {
    for len in [12_usize, 34, 127, 255, 257, 500] {
        let body = format!("{:<len$}}}", "{\"in\":\"p\"", len = len - 1);
        let prefix = u32::try_from(len).unwrap().to_be_bytes();
        let stream = [&prefix[..], body.as_bytes()].concat();
        let named = FrameError::Foreign(BigEndianPrefix);
        assert_eq!(first_error(&stream, MAX_FRAME_LEN), Some(named), "{len}");

        let too_large = first_error(&prefix, MAX_FRAME_LEN).unwrap().to_string();
        let hint = format!("(if {len} was meant, the prefix is big-endian");
        assert!(too_large.contains(&hint), "{too_large}");
    }
}

/// 2 GiB in one byte order is 128 bytes in the other, and 16 MiB is 1.
#[test]
fn a_frame_that_is_really_too_large_is_not_taken_for_another_byte_order() {
    for (len, rest) in [(1_u32 << 31, ""), (1 << 31, "{\"in\":\"p\"}"), (1 << 24, "{}")] {
        let stream = [&len.to_le_bytes()[..], rest.as_bytes()].concat();
        let error = first_error(&stream, MAX_FRAME_LEN);
        let len = len as usize;
        assert_eq!(error, Some(FrameError::TooLarge { len, max: MAX_FRAME_LEN }));
    }
}

#[test]
fn bare_json_is_named_in_every_spelling() {
    for start in [
        r#"{"in":"ping","params":null}"#,
        r#"{ "in": "ping" }"#,
        "{\n  \"in\": \"ping\"\n}",
        "{\r\n\"in\":\"ping\"}",
        "{\t\"in\":\"ping\"}",
        r#"[{"in":"ping"}]"#,
        r#"["ping","x"]"#,
        "[\n\"ping\"]",
        "[1,2]",
        " {\"in\":\"ping\"}",
        "\r\n {}",
    ] {
        check(start.as_bytes(), MAX_FRAME_LEN, BareJson);
    }
}

fn first_error(stream: &[u8], max_frame_len: usize) -> Option<FrameError> {
    let mut reader = FrameReader::new(max_frame_len);
    reader.read_from(&mut &stream[..]).unwrap();
    loop {
        match reader.next_frame() {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(error) => return Some(error),
        }
    }
}

#[test]
fn a_length_that_looks_like_nothing_else_is_only_too_large() {
    for len in [MAX_FRAME_LEN + 1, 9_000_000, 0x7fff_ffff, u32::MAX as usize] {
        let prefix = u32::try_from(len).unwrap().to_le_bytes();
        let expected = Some(FrameError::TooLarge { len, max: MAX_FRAME_LEN });
        assert_eq!(first_error(&prefix, MAX_FRAME_LEN), expected);
    }
}

#[test]
fn an_ordinary_first_frame_is_never_taken_for_another_protocol() {
    // Every length whose prefix begins as a TLS record does, and both ends of the range.
    let tls_like = (0..=4).map(|version| 0x0316 + (version << 16));
    for len in (0..3000).chain(tls_like).chain([MAX_FRAME_LEN]) {
        let mut body = vec![b' '; len];
        for (byte, json) in body.iter_mut().zip(br#"{"in":"ping"}"#) {
            *byte = *json;
        }
        assert_eq!(first_error(&frame(&body), MAX_FRAME_LEN), None, "{len}");
    }
}

#[test]
fn only_the_first_frame_can_be_another_protocol() {
    let streams: [&[u8]; 3] = [b"GET / HTTP/1.1", b"{\"in\":1}", &[0x16, 3, 1, 2, 0, 1, 0]];
    for stream in streams {
        let len = u32::from_le_bytes(*stream.first_chunk().unwrap()) as usize;
        let later = [&frame(b"")[..], stream].concat();
        let expected = Some(FrameError::TooLarge { len, max: MAX_FRAME_LEN });
        assert_eq!(first_error(&later, MAX_FRAME_LEN), expected);
    }
    let short_hello = [0x16, 0x03, 0x01, 0x00, 0x40, 0x01, 0x00];
    let later = [&frame(b"")[..], &short_hello].concat();
    assert_eq!(first_error(&later, MAX_FRAME_LEN), None, "its frame is incomplete");
}
