use std::time::Duration;

use rpc_proto::ErrorCode::{InvalidRequest, ParseError};
use rpc_proto::internal::split_request;
use rpc_proto::{ErrorCode, MessageError, Request, Response, RpcError};

/// A request that is read, with its method and params.
fn check_read(body: impl AsRef<[u8]>, method: &str, params: &str) {
    let body = body.as_ref();
    match Request::parse(body) {
        Ok(request) => {
            let read = (&*request.method, request.params.get());
            assert_eq!(read, (method, params), "{}", body.escape_ascii());
        }
        Err(error) => panic!("{}: {error}", body.escape_ascii()),
    }
}

/// A body that is answered with an error.
fn check_refused(body: impl AsRef<[u8]>, code: ErrorCode) {
    let body = body.as_ref();
    match Request::parse(body) {
        Ok(request) => panic!("{}: {request:?}", body.escape_ascii()),
        Err(error) => {
            let known_code = RpcError::from(error).known_code();
            assert_eq!(known_code, Some(code), "{}", body.escape_ascii());
        }
    }
}

#[test]
fn a_request_may_be_spelled_in_any_way() {
    check_read(r#"{"in":"m","params":1}"#, "m", "1");
    check_read(r#"{"in": "m", "params": 1}"#, "m", "1");
    check_read(r#"{"params":1,"in":"m"}"#, "m", "1");
    check_read("\r\n\t {\n\"in\"\t:\r\"m\" ,\"params\" : 1 } \n", "m", "1");
    check_read(r#"{"in":"m","params":  [ 1, 2 ] }"#, "m", "[ 1, 2 ]");
    check_read(r#"{"in":"","params":""}"#, "", "\"\"");
}

#[test]
fn absent_params_are_null() {
    check_read(r#"{"in":"m"}"#, "m", "null");
    check_read(r#"{"in":"m","params":null}"#, "m", "null");
    check_read(r#"{"in":"m","Params":1}"#, "m", "null");
}

#[test]
fn unknown_fields_are_ignored_wherever_they_stand() {
    for field in [r#""id":7"#, r#""x":{"in":"other","params":[]}"#, r#""":null"#] {
        check_read(format!(r#"{{{field},"in":"m","params":1}}"#), "m", "1");
        check_read(format!(r#"{{"in":"m",{field},"params":1}}"#), "m", "1");
        check_read(format!(r#"{{"in":"m","params":1,{field}}}"#), "m", "1");
    }
    check_read(r#"{"x":1,"x":2,"in":"m","params":1}"#, "m", "1");
}

#[test]
fn escapes_in_keys_and_in_the_method_name_mean_their_characters() {
    check_read(r#"{"\u0069n":"m","p\u0061rams":1}"#, "m", "1");
    check_read(r#"{"in":"\u0070ing","params":1}"#, "ping", "1");
    check_read(r#"{"in":"a\"b\\c\/d\n","params":1}"#, "a\"b\\c/d\n", "1");
    check_read(r#"{"in":"\ud83d\ude00","params":1}"#, "\u{1f600}", "1");
    check_read(r#"{"in":"\u0000","params":1}"#, "\0", "1");
    check_read("{\"in\":\"\u{1f600}\u{2028}\u{7f}\",\"params\":1}", "\u{1f600}\u{2028}\u{7f}", "1");
}

#[test]
fn what_is_not_utf8_is_a_parse_error() {
    for bytes in [
        &b"\xff"[..],
        b"{\"in\":\"m\xff\",\"params\":1}",
        b"{\"in\":\"m\",\"params\":\"\xc3\"}",
        b"{\"in\":\"m\",\"params\":\"\xed\xa0\x80\"}",
        b"{\"in\":\"m\",\"params\":\"\xc0\x80\"}",
        b"{\"in\":\"m\",\"params\":1}\xff",
    ] {
        check_refused(bytes, ParseError);
        assert!(matches!(Request::parse(bytes), Err(MessageError::NotUtf8(_))));
    }
}

#[test]
fn what_is_not_json_is_a_parse_error() {
    for body in [
        "",
        " ",
        "ping",
        "{",
        "{}}",
        "{'in':'m'}",
        r#"{"in":"m","params":1"#,
        r#"{"in":"m","params":}"#,
        r#"{"in":"m","params":1,}"#,
        r#"{"in":"m","params":01}"#,
        r#"{"in":"m","params":-}"#,
        r#"{"in":"m","params":1.}"#,
        r#"{"in":"m","params":NaN}"#,
        r#"{"in":"m","params":Infinity}"#,
        r#"{"in":"m","params":"\x"}"#,
        r#"{"in":"m","params":"\u12g4"}"#,
        "{\"in\":\"m\",\"params\":\"\n\"}",
        "{\"in\":\"m\n\",\"params\":1}",
        r#"{"in":"m","params":[1,2}"#,
        r#"{"in":"m","params":1 2}"#,
        r#"{"in":"m","params":1}x"#,
        r#"{"in":"m","params":1}{"in":"m"}"#,
        "{\"in\":\"m\",\"params\":1}\0",
        "\u{feff}{\"in\":\"m\",\"params\":1}",
        // Not JSON, and not a request either: what comes first in the list of codes wins.
        r#"{"in":1,"in":2"#,
    ] {
        check_refused(body, ParseError);
    }
}

#[test]
fn json_that_is_not_a_request_is_an_invalid_request() {
    for body in [
        "[]",
        r#"["m",1]"#,
        r#"[{"in":"m","params":1}]"#,
        "\"in\"",
        "1",
        "1e400",
        "true",
        "null",
        "{}",
        r#"{"params":1}"#,
        r#"{"In":"m","params":1}"#,
        r#"{"in":1,"params":1}"#,
        r#"{"in":null,"params":1}"#,
        r#"{"in":["m"],"params":1}"#,
        r#"{"in":{"m":1},"params":1}"#,
        r#"{"in":"m","in":"m","params":1}"#,
        r#"{"in":"m","params":1,"params":1}"#,
        r#"{"in":"m","params":null,"params":null}"#,
        r#"{"in":"m","params":1,"\u0069n":"n"}"#,
        r#"{"in":"\ud800","params":1}"#,
        r#"{"out":"pong","result":1}"#,
    ] {
        check_refused(body, InvalidRequest);
    }
}

#[test]
fn a_lone_surrogate_in_params_passes_through() {
    let params = r#"{"\udc00":"\ud800 and \udfff"}"#;
    check_read(format!(r#"{{"in":"m","params":{params}}}"#), "m", params);
    check_read(format!(r#"{{"params":{params},"in":"m"}}"#), "m", params);
}

#[test]
fn nesting_has_no_bound_but_the_frame() {
    let depth = 100_000;
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let inside = if open == "[" { "" } else { "1" };
        let deep = [&open.repeat(depth), inside, &close.repeat(depth)].concat();
        check_read(format!(r#"{{"in":"m","params":{deep}}}"#), "m", &deep);
        check_read(format!(r#"{{"in": "m", "params": {deep}}}"#), "m", &deep);
        check_read(format!(r#"{{"x":{deep},"in":"m","params":1}}"#), "m", "1");
        check_refused(&deep, InvalidRequest);
        let unclosed = format!(r#"{{"in":"m","params":{}}}"#, open.repeat(depth));
        check_refused(unclosed, ParseError);
        check_refused(open.repeat(depth), ParseError);
    }
}

#[test]
fn an_error_says_what_was_wrong() {
    for (body, part) in [
        ("ping", "not JSON"),
        ("[]", "expected an object with `in` and `params`"),
        (r#"{"params":1}"#, "missing field `in`"),
        (r#"{"in":"m","in":"m"}"#, "duplicate field `in`"),
        (r#"{"in":7}"#, "integer `7`"),
    ] {
        let message = RpcError::from(Request::parse(body.as_bytes()).unwrap_err()).message;
        assert!(message.contains(part), "{body}: {message}");
    }
}

#[test]
fn an_error_does_not_repeat_megabytes() {
    let long_key = "x".repeat(1 << 20);
    for body in [
        format!(r#"{{"in":{{"{long_key}":1}}}}"#),
        format!(r#""{long_key}""#),
        format!(r#"{{"in":"m","params":{long_key}}}"#),
    ] {
        let error = RpcError::from(Request::parse(body.as_bytes()).unwrap_err());
        assert!(error.message.len() < 300, "{} bytes", error.message.len());
    }
}

#[test]
fn a_reply_may_be_spelled_in_any_way_but_needs_its_result() {
    for body in [
        r#"{"out":"pong","result":1}"#,
        r#"{"out": "pong", "result": 1}"#,
        r#"{"result":1,"out":"pong"}"#,
        r#"{"id":3,"out":"\u0070ong","result":1,"x":[]}"#,
    ] {
        let reply = Response::parse(body.as_bytes()).unwrap();
        assert_eq!((&*reply.kind, reply.result.get()), ("pong", "1"), "{body}");
    }
    for body in [
        r#"{"out":"pong"}"#,
        r#"{"result":1}"#,
        r#"{"out":1,"result":1}"#,
        r#"{"out":"pong","result":1,"result":1}"#,
        r#"["pong",1]"#,
        r#"{"in":"ping","params":1}"#,
    ] {
        let error = Response::parse(body.as_bytes()).unwrap_err();
        assert!(matches!(error, MessageError::NotAMessage { .. }), "{body}");
    }
    for body in ["", "pong", r#"{"out":"pong","result":}"#, r#"{"out":"pong","result":1}}"#] {
        let error = Response::parse(body.as_bytes()).unwrap_err();
        assert!(matches!(error, MessageError::NotJson(_)), "{body}");
    }
}

#[test]
fn the_fast_way_leaves_everything_unusual_to_the_parser() {
    for body in [
        r#"{"in":"m"}"#,
        r#"{"params":1,"in":"m"}"#,
        r#"{"in":"a\"b","params":1}"#,
        "{\"in\":\"a\tb\",\"params\":1}",
        r#"{"in" : "m", "params": 1}"#,
        r#"{"in":"m", "params":1}"#,
        r#"{"in":"m","params":1} "#,
        r#" {"in":"m","params":1}"#,
        r#"{"in":"m","params":1"#,
        r#"{"out":"m","result":1}"#,
        r#"{"in":m","params":1}"#,
        r#"{"in":"m","timeout_ms":1}"#,
        r#"{"in":"m","params":1,"timeout_ms":1"#,
        r#"{"timeout_ms":1,"in":"m","params":1}"#,
        r#"{"in":"m","timeout_ms": 1, "params":1}"#,
        r#"{"in": "m", "timeout_ms":1,"params": 1}"#,
        r#"{"in":"m","timeout_ms":,"params":1}"#,
        r#"{"in":"m","timeout_ms":01,"params":1}"#,
        r#"{"in":"m","timeout_ms":-1,"params":1}"#,
        r#"{"in":"m","timeout_ms":1.0,"params":1}"#,
        r#"{"in":"m","timeout_ms":null,"params":1}"#,
        r#"{"in":"m","timeout_ms":"1","params":1}"#,
        r#"{"in":"m","timeout_ms":10000000000000000000,"params":1}"#,
        r#"{"in":"m","timeout_ms":1,"timeout_ms":1,"params":1}"#,
        r#"{"in":"m","timeout_ms":٣,"params":1}"#,
    ] {
        assert_eq!(split_request(body), None, "{body}");
    }
}

/// The time-out of a request, wherever it stands, and on the fast way where that knows it.
fn check_timeout(spelled: &str, milliseconds: Option<u64>) {
    let timeout = milliseconds.map(Duration::from_millis);
    for body in [
        format!(r#"{{"in":"m","timeout_ms":{spelled},"params":1}}"#),
        format!(r#"{{"in": "m", "timeout_ms": {spelled}, "params": 1}}"#),
        format!(r#"{{"in":"m","params":1,"timeout_ms":{spelled}}}"#),
        format!(r#"{{ "timeout_ms" : {spelled} , "in":"m","params":1}}"#),
        format!(r#"{{"in":"m","params":1,"t\u0069meout_ms":{spelled}}}"#),
    ] {
        let request = Request::parse(body.as_bytes()).expect(&body);
        assert_eq!((&*request.method, request.params.get()), ("m", "1"), "{body}");
        assert_eq!(request.timeout, timeout, "{body}");
        // Who finds that the params do not parse asks the parser above.
        let usual = split_request(&body).filter(|(_, _, params)| !params.contains(','));
        assert!(usual.is_none_or(|usual| usual == ("m", timeout, "1")), "{body}: {usual:?}");
    }
}

#[test]
fn a_timeout_is_a_number_of_milliseconds() {
    check_timeout("0", Some(0));
    check_timeout("1", Some(1));
    check_timeout("2000", Some(2000));
    check_timeout("9999999999999999999", Some(9_999_999_999_999_999_999));
    check_timeout("10000000000000000000", Some(10_000_000_000_000_000_000));
    check_timeout("18446744073709551615", Some(u64::MAX));
}

#[test]
fn a_timeout_of_null_is_none() {
    check_timeout("null", None);
}

#[test]
fn a_timeout_that_is_too_large_to_count_is_the_longest_one() {
    check_timeout("18446744073709551616", Some(u64::MAX));
    check_timeout(&"9".repeat(1000), Some(u64::MAX));
}

#[test]
fn a_timeout_that_is_no_unsigned_integer_is_an_invalid_request_that_names_the_field() {
    for spelled in ["-1", "-0", "1.5", "1.0", "1e3", r#""1""#, r#""""#, "true", "[]", "[1]", "{}"] {
        for body in [
            format!(r#"{{"in":"m","timeout_ms":{spelled},"params":1}}"#),
            format!(r#"{{"timeout_ms":{spelled},"in":"m"}}"#),
        ] {
            check_refused(&body, InvalidRequest);
            let error = RpcError::from(Request::parse(body.as_bytes()).unwrap_err());
            assert!(error.message.contains("timeout_ms"), "{body}: {error}");
        }
    }
    check_refused(r#"{"in":"m","timeout_ms":01,"params":1}"#, ParseError);
    check_refused(r#"{"in":"m","timeout_ms":,"params":1}"#, ParseError);
}

#[test]
fn a_timeout_that_stands_twice_is_an_invalid_request() {
    for second in ["1", "2", "null"] {
        check_refused(
            format!(r#"{{"in":"m","timeout_ms":1,"params":1,"timeout_ms":{second}}}"#),
            InvalidRequest,
        );
        check_refused(
            format!(r#"{{"in":"m","timeout_ms":1,"timeout_ms":{second},"params":1}}"#),
            InvalidRequest,
        );
    }
}

#[test]
fn a_timeout_in_a_reply_is_an_unknown_field() {
    let body = br#"{"out":"pong","timeout_ms":-1,"result":1,"timeout_ms":"x"}"#;
    assert_eq!(Response::parse(body).unwrap().kind, "pong");
}

#[test]
fn a_timeout_is_written_in_milliseconds_rounded_up() {
    for (timeout, written) in [
        (Duration::ZERO, "0"),
        (Duration::from_nanos(1), "1"),
        (Duration::from_millis(7), "7"),
        (Duration::from_micros(7001), "8"),
        (Duration::from_millis(u64::MAX), "18446744073709551615"),
        (Duration::MAX, "18446744073709551615"),
    ] {
        let mut body = Vec::new();
        Request::encode_with_timeout(&mut body, "a\"b", timeout, &1).unwrap();
        let expected = format!(r#"{{"in":"a\"b","timeout_ms":{written},"params":1}}"#);
        assert_eq!(body.escape_ascii().to_string(), expected.as_bytes().escape_ascii().to_string());
    }
}
