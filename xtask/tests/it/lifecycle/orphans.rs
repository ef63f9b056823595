//! The parent is killed: its children finish their requests and go, by themselves.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use xtask::launch::Server;
use xtask::model::Model;

use super::{Caller, PATIENCE, children, command_in, promises, serve, wait_until_gone};

promises! {
    children_of_a_killed_parent_finish_and_go: fork prefork prefork_thread;
    children_of_a_parent_that_is_killed_while_it_stops_end_with_the_grace: fork prefork prefork_thread;
}

fn children_of_a_killed_parent_finish_and_go(model: Model) {
    let mut server = serve(model, &["--workers", "2"]);
    let address = server.address().to_string();
    let mut idle = Caller::served(&server);
    let mut busy = Caller::served(&server);
    busy.send_surely("sleep", json!(300));
    // Two workers, or a child for each of the two connections.
    let children = children(&server, 2);

    server.signal(Signal::SIGKILL).expect("the server lives");
    server.wait(PATIENCE).expect("it ends");
    idle.expect_shutdown();
    assert_eq!(busy.receive(), Some(("slept".to_owned(), json!(300))));
    busy.expect_shutdown();
    wait_until_gone(&children);

    let again = command_in("", model, &address, &[]);
    let again = Server::start_command(again).expect("the port is free");
    Caller::connect(&again).ping();
}

/// The parent would have ended them when the grace is over. Now they do so themselves.
fn children_of_a_parent_that_is_killed_while_it_stops_end_with_the_grace(model: Model) {
    let mut server = serve(model, &["--workers", "2", "--grace", "500ms"]);
    let mut idle = Caller::served(&server);
    let mut busy = Caller::served(&server);
    busy.send_surely("spin", Value::Null);
    let children = children(&server, 2);

    server.signal(Signal::SIGTERM).expect("the server lives");
    idle.expect_shutdown();
    server.signal(Signal::SIGKILL).expect("the server waits for the other child");
    server.wait(PATIENCE).expect("it ends");
    let error = busy.expect_error(-32002);
    assert_eq!(error["data"], json!({ "executed": "maybe" }), "{error}");
    assert_eq!(busy.receive(), None);
    wait_until_gone(&children);
}
