//! Requests arrive whole, in pieces and many at once; replies leave byte for byte as documented.

use xtask::model::Model;

use crate::raw::{Raw, frame, pong, request};
use crate::server::start;

over_every_model! {
    the_seed_session_is_answered_byte_by_byte,
    a_request_may_come_one_byte_at_a_time,
    a_request_may_be_split_anywhere,
    prefix_and_body_may_come_in_two_writes,
    a_thousand_requests_in_one_write_are_answered_in_order,
    good_and_bad_requests_in_one_write_are_answered_in_order,
    requests_before_a_half_close_are_answered,
    a_half_close_inside_a_frame_ends_the_connection,
    a_connection_without_a_request_ends_without_a_word,
}

fn the_seed_session_is_answered_byte_by_byte(model: Model) {
    let server = start(model, &[]);
    let mut client = Raw::connect(&server);
    client.send(b"\x25\0\0\0{\"in\": \"ping\", \"params\": \"ireader 0\"}");
    client.expect(b"\x23\0\0\0{\"out\":\"pong\",\"result\":\"ireader 0\"}");
    for i in 1..10 {
        client.send(&request("ping", &format!("\"ireader {i}\"")));
        client.expect(&pong(&format!("\"ireader {i}\"")));
    }
    client.half_close();
    client.expect_end();
}

fn a_request_may_come_one_byte_at_a_time(model: Model) {
    let server = start(model, &[]);
    let mut client = Raw::connect(&server);
    for byte in request("ping", "[1, 2, 3]") {
        client.send(&[byte]);
    }
    client.expect(&pong("[1, 2, 3]"));
}

/// Each write ends one request and begins the next. Its first part is answered, so the server has
/// read the second part as well and waits for the rest: the split is no matter of luck.
fn a_request_may_be_split_anywhere(model: Model) {
    let server = start(model, &[]);
    let mut client = Raw::connect(&server);
    let whole = request("ping", "\"ireader\"");
    let mut rest = &whole[..];
    for offset in 1..whole.len() {
        let (first_part, next_rest) = whole.split_at(offset);
        client.send(&[rest, first_part].concat());
        client.expect(&pong("\"ireader\""));
        rest = next_rest;
    }
    client.send(rest);
    client.expect(&pong("\"ireader\""));
}

fn prefix_and_body_may_come_in_two_writes(model: Model) {
    let server = start(model, &[]);
    let mut client = Raw::connect(&server);
    for _ in 0..50 {
        let whole = request("ping", "7");
        let (prefix, body) = whole.split_at(4);
        client.send(prefix);
        client.send(body);
        client.expect(&pong("7"));
    }
}

fn a_thousand_requests_in_one_write_are_answered_in_order(model: Model) {
    let server = start(model, &[]);
    let mut client = Raw::connect(&server);
    let numbers = || (0..1000).map(|number: u32| number.to_string());
    let requests: Vec<u8> = numbers().flat_map(|n| request("ping", &n)).collect();
    let replies: Vec<u8> = numbers().flat_map(|n| pong(&n)).collect();
    client.send(&requests);
    client.expect(&replies);
}

fn good_and_bad_requests_in_one_write_are_answered_in_order(model: Model) {
    use rpc_client::ErrorCode::{InvalidRequest, MethodNotFound, ParseError};
    let server = start(model, &[]);
    let mut client = Raw::connect(&server);
    client.send(
        &[
            request("ping", "1"),
            frame("not JSON"),
            request("ping", "2"),
            frame(""),
            request("no such method", "3"),
            request("ping", "4"),
            frame("[]"),
        ]
        .concat(),
    );
    client.expect(&pong("1"));
    client.expect_error(ParseError);
    client.expect(&pong("2"));
    client.expect_error(ParseError);
    client.expect_error(MethodNotFound);
    client.expect(&pong("4"));
    client.expect_error(InvalidRequest);
    client.expect_service();
}

fn requests_before_a_half_close_are_answered(model: Model) {
    let server = start(model, &[]);
    let mut client = Raw::connect(&server);
    client.send(&request("ping", "true").repeat(100));
    client.half_close();
    client.expect(&pong("true").repeat(100));
    client.expect_end();
}

fn a_half_close_inside_a_frame_ends_the_connection(model: Model) {
    let server = start(model, &[]);
    let mut client = Raw::connect(&server);
    let unfinished = &request("ping", "2")[..20];
    client.send(&[&request("ping", "1")[..], unfinished].concat());
    client.half_close();
    client.expect(&pong("1"));
    client.expect_end();
}

fn a_connection_without_a_request_ends_without_a_word(model: Model) {
    let server = start(model, &[]);
    let mut client = Raw::connect(&server);
    client.half_close();
    client.expect_end();
}
