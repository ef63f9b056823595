//! What goes through comes back the same.

use xtask::model::Model;

use crate::raw::{Raw, frame, pong, request};
use crate::server::start;

over_every_model! {
    params_come_back_as_they_were_spelled,
    absent_params_are_null,
    unknown_fields_are_ignored,
    a_request_may_be_spelled_in_any_way_that_json_allows,
    deep_nesting_does_not_exhaust_the_stack,
    pi_is_the_double_that_python_computes,
}

/// Strings code point by code point, numbers digit by digit, keys in their order.
fn params_come_back_as_they_were_spelled(model: Model) {
    let server = start(model, &[]);
    let mut client = Raw::connect(&server);
    for params in [
        "null",
        "true",
        "0",
        "-0",
        "-0.0",
        "0.1",
        "0.30000000000000004",
        "5e-324",
        "1.7976931348623157e308",
        "1E400",
        "9007199254740993",
        "18446744073709551616",
        "123456789012345678901234567890.5",
        r#""""#,
        r#""ireader""#,
        "\"深入理解 RPC\"",
        r#""\u6df1\u5165""#,
        "\"😀\"",
        r#""\ud83d\ude00""#,
        r#""\ud800""#,
        r#""\udc00 \ud800""#,
        r#""\u0000\u001f\u007f\ufffe""#,
        r#""\"\\\/\b\f\n\r\t""#,
        "\"\u{7f}\u{2028}\u{feff}\u{10ffff}\"",
        r#""\"}""#,
        r#"",\"params\":1}""#,
        "[]",
        "[[[[[[]]]]]]",
        "{}",
        r#"{"b": 1, "a": 2, "": 3}"#,
        r#"{"in": "pi", "params": [1, {"out": "error"}]}"#,
    ] {
        client.send(&request("ping", params));
        client.expect(&pong(params));
    }
}

fn absent_params_are_null(model: Model) {
    let server = start(model, &[]);
    let mut client = Raw::connect(&server);
    client.send(&frame(r#"{"in": "ping"}"#));
    client.expect(&pong("null"));
}

fn unknown_fields_are_ignored(model: Model) {
    let server = start(model, &[]);
    let mut client = Raw::connect(&server);
    for body in [
        r#"{"id": 7, "in": "ping", "params": 1}"#,
        r#"{"in": "ping", "id": {"in": "pi"}, "params": 1}"#,
        r#"{"in": "ping", "params": 1, "id": null, "id": [], "": 0}"#,
        r#"{"In": "pi", "PARAMS": 2, "in": "ping", "params": 1}"#,
    ] {
        client.send(&frame(body));
        client.expect(&pong("1"));
    }
}

fn a_request_may_be_spelled_in_any_way_that_json_allows(model: Model) {
    let server = start(model, &[]);
    let mut client = Raw::connect(&server);
    for body in [
        r#"{"in":"ping","params":[1, 2]}"#,
        r#"{"params":[1, 2],"in":"ping"}"#,
        " \t\r\n{ \"in\" : \"ping\" ,\n \"params\" : [1, 2] }\n",
        r#"{"in":"\u0070ing","params":[1, 2]}"#,
        r#"{"\u0069n":"ping","par\u0061ms":[1, 2]}"#,
    ] {
        client.send(&frame(body));
        client.expect(&pong("[1, 2]"));
    }
}

/// A stack of two megabytes, which is what a thread has, holds far fewer frames than this.
fn deep_nesting_does_not_exhaust_the_stack(model: Model) {
    const DEPTH: usize = 200_000;
    let server = start(model, &[]);
    let mut client = Raw::connect(&server);
    let deep = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    client.send(&request("ping", &deep));
    client.expect(&pong(&deep));
    client.send(&frame(&deep));
    client.expect_error(rpc_client::ErrorCode::InvalidRequest);
    client.send(&request("pi", &deep));
    client.expect_error(rpc_client::ErrorCode::InvalidParams);
    client.expect_service();
}

/// The seed author's second example; the doubles are those that Python prints.
fn pi_is_the_double_that_python_computes(model: Model) {
    let server = start(model, &[]);
    let mut client = Raw::connect(&server);
    for (terms, result) in [("0", "2.8284271247461903"), ("1000", "3.1412746456267633")] {
        client.send(&request("pi", terms));
        client.expect(&frame(format!(r#"{{"out":"pi_r","result":{result}}}"#)));
    }
}
