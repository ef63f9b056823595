//! Whoever comes beyond a limit is told so at once, and there is a place again when one leaves.

use std::time::{Duration, Instant};

use rpc_client::ErrorCode::Busy;
use xtask::launch::Server;
use xtask::model::Model;

use crate::raw::{PATIENCE, Raw, request};
use crate::server::{connect_until_served, start};

over_models_with_a_limit! {
    whoever_comes_beyond_the_limit_is_told_at_once,
    the_refusal_reaches_a_client_that_has_sent_its_request,
    a_place_that_is_left_is_given_to_the_next,
    a_flood_of_refused_connections_slows_nobody_down,
}

/// A server with two places, both taken.
fn start_full(model: Model) -> (Server, [Raw; 2]) {
    let limits = ["--max-connections", "2", "--max-children", "2", "--workers", "1"];
    let server = start(model, &limits);
    let mut served = [Raw::connect(&server), Raw::connect(&server)];
    served.iter_mut().for_each(Raw::expect_service);
    (server, served)
}

fn whoever_comes_beyond_the_limit_is_told_at_once(model: Model) {
    let (server, mut served) = start_full(model);
    for _ in 0..10 {
        let mut third = Raw::connect(&server);
        let error = third.expect_error(Busy);
        assert_eq!(error["data"]["limit"], 2, "{error}");
        third.expect_end();
    }
    served.iter_mut().for_each(Raw::expect_service);
}

fn the_refusal_reaches_a_client_that_has_sent_its_request(model: Model) {
    let (server, _served) = start_full(model);
    for _ in 0..10 {
        let mut third = Raw::connect(&server);
        third.send(&request("ping", &format!("\"{}\"", "x".repeat(30_000))));
        third.expect_error(Busy);
        third.expect_end();
    }
}

fn a_place_that_is_left_is_given_to_the_next(model: Model) {
    let (server, [first, mut second]) = start_full(model);
    drop(first);
    let _next = connect_until_served(&server);
    Raw::connect(&server).expect_error(Busy);
    second.expect_service();
}

/// A server that took its time for every refusal, a quarter of a second each, would need a minute.
fn a_flood_of_refused_connections_slows_nobody_down(model: Model) {
    const ENOUGH: Duration = Duration::from_secs(4);
    let (server, [mut first, second]) = start_full(model);
    let begin = Instant::now();
    let mut flood: Vec<Raw> = (0..200).map(|_| Raw::connect(&server)).collect();
    for _ in 0..100 {
        first.expect_service();
    }
    for refused in &mut flood {
        refused.expect_error(Busy);
    }
    drop(second);
    connect_until_served(&server);
    let took = begin.elapsed();
    assert!(took < ENOUGH.min(PATIENCE), "it took {took:?}");
}
