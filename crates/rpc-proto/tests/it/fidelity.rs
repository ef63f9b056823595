use std::fmt::Debug;

use rpc_proto::internal::split_request;
use rpc_proto::{Request, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// Params in a request and the same value as a result in a reply, both ways of parsing.
fn through<T: Serialize + ?Sized, R: DeserializeOwned>(value: &T) -> Vec<R> {
    let (mut request, mut reply) = (Vec::new(), Vec::new());
    Request::encode(&mut request, "method", value).unwrap();
    Response::encode(&mut reply, "kind", value).unwrap();
    let (_, _, fast) = split_request(str::from_utf8(&request).unwrap()).unwrap();
    let params = Request::parse(&request).unwrap().params;
    let result = Response::parse(&reply).unwrap().result;
    [fast, params.get(), result.get()].map(|text| serde_json::from_str(text).unwrap()).into()
}

/// The text passes through untouched in both directions and in any spelling around it.
fn check_raw(text: &str) {
    let value: Box<RawValue> = serde_json::from_str(text).expect(text);
    for same in through::<_, Box<RawValue>>(&value) {
        assert_eq!(same.get(), text);
    }
    for body in [
        format!(r#"{{"in":"m","params":{text}}}"#),
        format!(r#"{{"in": "m", "params": {text}}}"#),
        format!("{{ \"params\" : {text}\n, \"in\" : \"m\" }}"),
    ] {
        assert_eq!(Request::parse(body.as_bytes()).unwrap().params.get(), text);
    }
    for body in [
        format!(r#"{{"out":"m","result":{text}}}"#),
        format!(r#"{{"out": "m", "result": {text}}}"#),
        format!("{{ \"result\" : {text}\n, \"out\" : \"m\" }}"),
    ] {
        assert_eq!(Response::parse(body.as_bytes()).unwrap().result.get(), text);
    }
}

#[test]
fn raw_values_pass_through_byte_by_byte() {
    for text in [
        "1.10",
        "-0.0",
        "-0",
        "1e400",
        "-1E+0400",
        "0.1000000000000000055511151231257827",
        "123456789012345678901234567890",
        "-9223372036854775809",
        "18446744073709551616",
        "[1,2 ,\t3]",
        r#"{"z":1,"a":2,"m":{"y":0,"b":0}}"#,
        r#"{"a":1,"a":2}"#,
        r#""\u0041\/\ud83d\ude00""#,
        r#""\ud800""#,
        "\"\u{2028}\u{1f600}\u{7f}\"",
        r#"{"in":"x","params":"y"}"#,
        r#""}""#,
    ] {
        check_raw(text);
    }
}

#[test]
fn doubles_stay_the_same_bits() {
    let check = |value: f64| {
        for same in through::<_, f64>(&value) {
            assert_eq!(same.to_bits(), value.to_bits(), "{value:e}");
        }
    };
    for value in [
        0.0,
        -0.0,
        0.1,
        1.0 / 3.0,
        -1.5e-7,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        f64::from_bits(1),
        f64::from_bits(0x000f_ffff_ffff_ffff),
        f64::EPSILON,
        9_007_199_254_740_993.0,
        1e21,
        1e22,
        1e23,
        2.225_073_858_507_201e-308,
        std::f64::consts::PI,
    ] {
        check(value);
    }
    // These are one unit off with the parser that is the library's default.
    for text in ["51.24817837550540", "-93.3113703768803", "1.0715660391465826e-75"] {
        let value: f64 = text.parse().unwrap();
        let body = format!(r#"{{"in":"m","params":{text}}}"#);
        let params = Request::parse(body.as_bytes()).unwrap().params;
        let read: f64 = serde_json::from_str(params.get()).unwrap();
        assert_eq!(read.to_bits(), value.to_bits(), "{text}");
        check(value);
    }
}

#[test]
fn integers_stay_exact_to_the_ends_of_their_types() {
    fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: T) {
        for same in through::<_, T>(&value) {
            assert_eq!(same, value);
        }
    }
    check(i64::MIN);
    check(u64::MAX);
    check(i128::MIN);
    check(u128::MAX);
    check(9_007_199_254_740_993_i64);
    check(u8::MAX);
}

#[test]
fn strings_stay_the_same_code_point_by_code_point() {
    let every_boundary: String = [
        0, 1, 8, 9, 10, 12, 13, 0x1f, 0x20, 0x22, 0x2f, 0x5c, 0x7e, 0x7f, 0x80, 0x9f, 0xff, 0x7ff,
        0x800, 0x2028, 0x2029, 0xd7ff, 0xe000, 0xfeff, 0xfffd, 0xffff, 0x1_0000, 0x1_f600,
        0x10_ffff,
    ]
    .map(|code| char::from_u32(code).unwrap())
    .iter()
    .collect();
    for text in ["", "ireader 0", "\0", "e\u{301} is not \u{e9}", &every_boundary] {
        for same in through::<_, String>(text) {
            assert_eq!(same.chars().collect::<Vec<_>>(), text.chars().collect::<Vec<_>>());
        }
    }
}

#[test]
fn names_and_kinds_stay_the_same_too() {
    for name in ["ping", "", "a\"b", "a\\", "\\", "\"", "\0\u{1f}", "\u{2028}\u{1f600}", "}{"] {
        let (mut request, mut reply) = (Vec::new(), Vec::new());
        Request::encode(&mut request, name, "x").unwrap();
        Response::encode(&mut reply, name, "x").unwrap();
        assert_eq!(Request::parse(&request).unwrap().method, name);
        assert_eq!(Response::parse(&reply).unwrap().kind, name);
    }
}
