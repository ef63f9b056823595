//! What one client does wrong disturbs nobody else.

use std::os::unix::process::ExitStatusExt;

use nix::libc;
use rpc_client::{CallError, ErrorCode, RawReply, RpcError};
use xtask::launch::Server;
use xtask::model::Model;

use crate::raw::{PATIENCE, Raw, frame, request};
use crate::server::{connect_until_served, start};

over_every_model! {
    garbage_disturbs_nobody,
    a_panic_disturbs_nobody,
    a_disconnect_in_the_middle_of_a_frame_disturbs_nobody,
    a_disconnect_while_the_handler_runs_disturbs_nobody,
    a_reset_disturbs_nobody,
    a_reset_while_replies_are_written_disturbs_nobody,
    half_a_frame_that_is_held_disturbs_nobody,
    connections_that_come_and_go_disturb_nobody,
    an_abort_ends_one_process,
}

/// While one client misbehaves, and after it, another is served. With the model `single` there is
/// no other meanwhile: it is the next one that must be served.
///
/// `misbehave` gives back what stays connected.
fn check(model: Model, misbehave: impl Fn(&Server) -> Vec<Raw>) {
    let arguments = ["--fault-methods", "--workers", "4", "--frame-timeout", "300ms"];
    let server = start(model, &arguments);
    if model == Model::Single {
        let _held = misbehave(&server);
        Raw::connect(&server).expect_service();
        return;
    }
    let mut neighbour = Raw::connect(&server);
    neighbour.expect_service();
    let held = misbehave(&server);
    neighbour.expect_service();
    Raw::connect(&server).expect_service();
    drop(held);
    neighbour.expect_service();
}

fn garbage_disturbs_nobody(model: Model) {
    check(model, |server| {
        for seed in 1..20 {
            let mut client = Raw::connect(server);
            // It may be refused, and the connection closed, before the end is sent.
            let _ = client.try_to_send(&noise(seed, 40_000));
        }
        for seed in 1..20 {
            let mut client = Raw::connect(server);
            client.send(&frame(noise(seed, 1000)));
            client.expect_error(ErrorCode::ParseError);
        }
        vec![]
    });
}

/// Bytes without a pattern, the same every time: Marsaglia's xorshift64.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn a_panic_disturbs_nobody(model: Model) {
    check(model, |server| {
        let mut client = Raw::connect(server);
        for _ in 0..20 {
            client.send(&request("panic", "null"));
            client.expect_error(ErrorCode::InternalError);
        }
        vec![]
    });
}

fn a_disconnect_in_the_middle_of_a_frame_disturbs_nobody(model: Model) {
    check(model, |server| {
        let whole = request("ping", "1");
        for len in 1..whole.len() {
            Raw::connect(server).send(&whole[..len]);
        }
        vec![]
    });
}

fn a_disconnect_while_the_handler_runs_disturbs_nobody(model: Model) {
    check(model, |server| {
        for _ in 0..5 {
            Raw::connect(server).send(&request("sleep", "20").repeat(2));
        }
        vec![]
    });
}

fn a_reset_disturbs_nobody(model: Model) {
    check(model, |server| {
        for bytes in [&b""[..], &request("ping", "1"), &request("ping", "1")[..20]] {
            for _ in 0..5 {
                let mut client = Raw::connect(server);
                client.send(bytes);
                client.reset();
            }
        }
        vec![]
    });
}

fn a_reset_while_replies_are_written_disturbs_nobody(model: Model) {
    check(model, |server| {
        let large = request("ping", &format!("\"{}\"", "x".repeat(50_000)));
        for _ in 0..5 {
            let mut client = Raw::connect(server);
            client.send(&large.repeat(10));
            client.receive();
            client.reset();
        }
        vec![]
    });
}

fn half_a_frame_that_is_held_disturbs_nobody(model: Model) {
    check(model, |server| {
        let mut client = Raw::connect(server);
        client.expect_service();
        client.send(&request("ping", "1")[..20]);
        vec![client]
    });
}

fn connections_that_come_and_go_disturb_nobody(model: Model) {
    check(model, |server| {
        for _ in 0..100 {
            drop(Raw::connect(server));
        }
        vec![]
    });
}

/// Two places, both taken. The process that served the first dies; the second goes on, and there
/// is a place for a third, which only a new process can give. Three times: replacing goes on.
fn an_abort_ends_one_process(model: Model) {
    let fault = ["--fault-methods"];
    if matches!(model, Model::Single | Model::Thread) {
        return an_abort_ends_the_server(start(model, &fault));
    }
    // Processes: one a connection.
    let places = ["--workers", "2", "--max-children", "2", "--max-connections"];
    let per_process = if model == Model::PreforkThread { "1" } else { "2" };
    let server = start(model, &[&fault[..], &places, &[per_process]].concat());
    let mut first = connect_until_served(&server);
    let mut second = connect_until_served(&server);
    for _ in 0..3 {
        let aborted = first.call_raw("abort", &());
        assert!(is_crashed(&aborted), "{aborted:?}");
        second.call_raw("ping", "are you there?").unwrap();
        first = connect_until_served(&server);
        second.call_raw("ping", "are you still there?").unwrap();
    }
}

fn an_abort_ends_the_server(mut server: Server) {
    let mut client = server.connect().unwrap();
    let aborted = client.call_raw("abort", &());
    assert!(is_crashed(&aborted), "{aborted:?}");
    let status = server.wait(PATIENCE).unwrap();
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{status}");
}

fn is_crashed(reply: &Result<RawReply, CallError>) -> bool {
    let error = reply.as_ref().err().and_then(CallError::rpc_error);
    error.and_then(RpcError::known_code) == Some(ErrorCode::Crashed)
}
