//! What is wrong with a request is answered with its code, and the connection goes on.

use rpc_client::ErrorCode::{
    self, InternalError, InvalidParams, InvalidRequest, MethodNotFound, ParseError,
};
use xtask::model::Model;

use crate::raw::{Raw, frame};
use crate::server::start;

over_every_model! {
    an_empty_frame_is_answered_and_the_connection_lives,
    a_body_that_is_not_json_is_a_parse_error,
    a_body_that_is_not_utf8_is_a_parse_error,
    json_that_is_not_a_request_is_an_invalid_request,
    a_field_that_stands_twice_makes_an_invalid_request,
    an_unknown_method_is_not_found,
    an_error_repeats_little_of_what_was_sent,
    params_that_do_not_fit_are_invalid,
    a_handler_that_panics_fails_its_request_only,
}

/// Every body gets this code, and the same connection is served after each.
fn check(model: Model, code: ErrorCode, bodies: &[impl AsRef<[u8]>]) {
    let server = start(model, &["--fault-methods"]);
    let mut client = Raw::connect(&server);
    for body in bodies {
        client.send(&frame(body));
        client.expect_error(code);
        client.expect_service();
    }
}

fn an_empty_frame_is_answered_and_the_connection_lives(model: Model) {
    check(model, ParseError, &["", "", ""]);
}

fn a_body_that_is_not_json_is_a_parse_error(model: Model) {
    let bodies = [
        " ",
        "ping",
        "{",
        r#"{"in": "ping", "params": 1"#,
        r#"{"in": "ping", "params": }"#,
        r#"{"in": "ping", "params": 1}}"#,
        r#"{"in": "ping", "params": 1} {"in": "ping", "params": 1}"#,
        r#"{"in": "ping", "params": 1,}"#,
        r#"{"in": "ping", "params": NaN}"#,
        r#"{"in": "ping", "params": 01}"#,
        r#"{"in": "ping", "params": "\x"}"#,
        r#"{"in": "pi", "params": [1}"#,
        r#"{"in": "no such method", "params": [1}"#,
        "{'in': 'ping', 'params': 1}",
        "{\"in\": \"ping\", \"params\": \"a\nb\"}",
        "{\"in\": \"ping\", \"params\": 1}\0",
        "\u{feff}{\"in\": \"ping\", \"params\": 1}",
    ];
    check(model, ParseError, &bodies);
}

fn a_body_that_is_not_utf8_is_a_parse_error(model: Model) {
    let bodies: [&[u8]; 6] = [
        b"\xff\xfe",
        b"{\"in\": \"ping\", \"params\": \"\xff\"}",
        b"{\"in\": \"ping\", \"params\": \"\xc3\"}",
        b"{\"in\": \"ping\", \"params\": \"\xc0\xaf\"}",
        b"{\"in\": \"ping\", \"params\": \"\xed\xa0\x80\"}",
        b"{\"in\": \"\xe6\xb7\", \"params\": 1}",
    ];
    check(model, ParseError, &bodies);
}

fn json_that_is_not_a_request_is_an_invalid_request(model: Model) {
    let bodies = [
        "null",
        "1",
        "\"ping\"",
        "[]",
        r#"["ping", 1]"#,
        r#"[{"in": "ping", "params": 1}]"#,
        "{}",
        r#"{"params": 1}"#,
        r#"{"method": "ping", "params": 1}"#,
        r#"{"in": null, "params": 1}"#,
        r#"{"in": 1, "params": 1}"#,
        r#"{"in": ["ping"], "params": 1}"#,
        r#"{"in": {}, "params": 1}"#,
    ];
    check(model, InvalidRequest, &bodies);
}

fn a_field_that_stands_twice_makes_an_invalid_request(model: Model) {
    let bodies = [
        r#"{"in": "ping", "in": "ping", "params": 1}"#,
        r#"{"in": "ping", "params": 1, "in": "pi"}"#,
        r#"{"in": "ping", "params": 1, "params": 1}"#,
        r#"{"in":"ping","params":1,"params":2}"#,
        r#"{"in": "ping", "params": 1, "par\u0061ms": 1}"#,
    ];
    check(model, InvalidRequest, &bodies);
}

fn an_unknown_method_is_not_found(model: Model) {
    let bodies = [
        r#"{"in": "no such method", "params": 1}"#,
        r#"{"in": "", "params": 1}"#,
        r#"{"in": "Ping", "params": 1}"#,
        r#"{"in": "ping ", "params": 1}"#,
        r#"{"in": "ping\u0000", "params": 1}"#,
        r#"{"in": "error", "params": 1}"#,
        r#"{"in": "pong"}"#,
    ];
    check(model, MethodNotFound, &bodies);
}

fn an_error_repeats_little_of_what_was_sent(model: Model) {
    let server = start(model, &[]);
    let mut client = Raw::connect(&server);
    for letter in ["x", "é", "模", "😀", r"\u0000"] {
        let long = letter.repeat(20_000);
        for (code, body) in [
            (MethodNotFound, format!(r#"{{"in": "{long}"}}"#)),
            (InvalidParams, format!(r#"{{"in": "pi", "params": "{long}"}}"#)),
            (InvalidRequest, format!(r#"{{"in": ["{long}"]}}"#)),
            (InvalidRequest, format!("\"{long}\"")),
        ] {
            client.send(&frame(body));
            let error = client.expect_error(code);
            let message = error["message"].as_str().unwrap();
            assert!(message.len() < 1000, "{message}");
            client.expect_service();
        }
    }
}

fn params_that_do_not_fit_are_invalid(model: Model) {
    let bodies = [
        r#"{"in": "pi", "params": "10"}"#,
        r#"{"in": "pi", "params": -1}"#,
        r#"{"in": "pi", "params": 1.5}"#,
        r#"{"in": "pi", "params": 18446744073709551616}"#,
        r#"{"in": "pi", "params": null}"#,
        r#"{"in": "pi", "params": [1]}"#,
        r#"{"in": "pi", "params": {"n": 1}}"#,
        r#"{"in": "pi"}"#,
        r#"{"in": "panic", "params": 1}"#,
    ];
    check(model, InvalidParams, &bodies);
}

fn a_handler_that_panics_fails_its_request_only(model: Model) {
    let bodies = [r#"{"in": "panic", "params": null}"#; 20];
    check(model, InternalError, &bodies);
}
