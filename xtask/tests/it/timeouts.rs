//! A peer does not decide how long the server waits.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use rpc_client::ErrorCode::TimedOut;
use xtask::model::Model;

use crate::memory::Peaks;
use crate::raw::{PATIENCE, Raw, frame, pong, request};
use crate::server::{connect_until_served, start};

over_every_model! {
    a_newcomer_who_says_nothing_is_told_and_closed,
    an_idle_connection_is_told_and_closed,
    a_frame_that_stops_in_the_middle_is_told_and_closed,
    the_time_of_a_frame_does_not_begin_anew_with_every_byte,
    the_time_of_a_frame_begins_anew_with_every_frame,
    a_client_that_never_reads_is_closed_and_gives_its_place_back,
    replies_that_nobody_reads_take_little_memory,
}

const LIMIT: Duration = Duration::from_millis(200);

fn an_idle_connection_is_told_and_closed(model: Model) {
    let server = start(model, &["--idle-timeout", "200ms"]);
    let begin = Instant::now();
    expect_time_out(Raw::connect(&server), begin);

    let mut client = Raw::connect(&server);
    let begin = Instant::now();
    client.expect_service();
    expect_time_out(client, begin);

    // After a large call it waits differently, to give memory back.
    let mut client = Raw::connect(&server);
    let text = format!("\"{}\"", "a".repeat(200_000));
    let begin = Instant::now();
    for _ in 0..2 {
        client.send(&request("ping", &text));
        client.expect(&pong(&text));
    }
    expect_time_out(client, begin);
}

/// Who has made a request may be silent for longer.
fn a_newcomer_who_says_nothing_is_told_and_closed(model: Model) {
    let limits = ["--first-request-timeout", "200ms", "--idle-timeout", "10s", "--workers", "2"];
    let server = start(model, &limits);
    if model != Model::Single {
        let mut known = Raw::connect(&server);
        known.expect_service();
        let begin = Instant::now();
        expect_time_out(Raw::connect(&server), begin);
        known.expect_service();
    }
    let begin = Instant::now();
    expect_time_out(Raw::connect(&server), begin);
}

fn a_frame_that_stops_in_the_middle_is_told_and_closed(model: Model) {
    let server = start(model, &["--frame-timeout", "200ms"]);
    let whole = request("ping", "1");
    for part in [&whole[..1], &whole[..3], &whole[..4], &whole[..20]] {
        let mut client = Raw::connect(&server);
        let begin = Instant::now();
        client.send(part);
        expect_time_out(client, begin);
    }
    let mut client = Raw::connect(&server);
    let begin = Instant::now();
    client.send(&[&whole[..], &whole[..20]].concat());
    client.expect(&pong("1"));
    expect_time_out(client, begin);
}

/// The client has been silent since `begin` or later, and the server says so: not before the
/// limit, but without being asked.
fn expect_time_out(mut client: Raw, begin: Instant) {
    let error = client.expect_error(TimedOut);
    let waited = begin.elapsed();
    assert!(waited >= LIMIT, "told after {waited:?} already");
    assert_eq!(error["data"]["limit_ms"], 200, "{error}");
    client.expect_end();
}

fn the_time_of_a_frame_does_not_begin_anew_with_every_byte(model: Model) {
    let server = start(model, &["--frame-timeout", "200ms"]);
    let mut client = Raw::connect(&server);
    let begin = Instant::now();
    let bytes = frame([b' '; 10_000]);
    let pace = LIMIT / 10;
    for byte in bytes.chunks(1) {
        client.send(byte);
        if client.has_something_within(pace) {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "the server goes on waiting");
    }
    client.expect_error(TimedOut);
    assert!(begin.elapsed() >= LIMIT);
}

/// Each frame ends the last and begins the next, so that the server always holds a part of one;
/// all of them together take longer than one may.
fn the_time_of_a_frame_begins_anew_with_every_frame(model: Model) {
    let server = start(model, &["--frame-timeout", "1500ms"]);
    let mut client = Raw::connect(&server);
    let begin = Instant::now();
    let whole = request("ping", "1");
    let (first_part, rest) = whole.split_at(20);
    client.send(first_part);
    while begin.elapsed() < Duration::from_secs(2) {
        assert!(!client.has_something_within(Duration::from_millis(100)));
        client.send(&[rest, first_part].concat());
        client.expect(&pong("1"));
    }
    client.send(rest);
    client.expect(&pong("1"));
}

fn a_client_that_never_reads_is_closed_and_gives_its_place_back(model: Model) {
    let one_place = ["--max-connections", "1", "--max-children", "1", "--workers", "1"];
    let server = start(model, &[&one_place[..], &["--write-timeout", "200ms"]].concat());
    let mut client = Raw::connect(&server);
    let large = request("ping", &format!("\"{}\"", "x".repeat(100_000)));
    let error = loop {
        // The queues between the two hold a few MiB at most; then the server waits for its reader.
        if let Err(error) = client.try_to_send(&large) {
            break error;
        }
    };
    let closed = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(closed.contains(&error.kind()), "{error}");
    connect_until_served(&server);
}

/// The queues of the kernel fill, and then the server stops reading.
fn replies_that_nobody_reads_take_little_memory(model: Model) {
    let server = start(model, &["--workers", "1"]);
    let mut client = Raw::connect(&server);
    client.expect_service();
    let before = Peaks::of_tree(server.pid());
    let request = request("ping", &format!("\"{}\"", "x".repeat(1000)));
    client.send_until_nobody_reads(&request.repeat(100), Duration::from_millis(500));
    // A MiB is allowed, and a client's queue and a server's hold several.
    Peaks::of_tree(server.pid()).assert_little_more_than(&before, 1 << 20);
}
