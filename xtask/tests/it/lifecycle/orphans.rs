//! The parent is killed: its children finish their requests and go, by themselves.

use nix::sys::signal::Signal;
use serde_json::json;
use xtask::launch::Server;
use xtask::model::Model;

use super::{Caller, PATIENCE, children, command_in, promises, serve, wait_until_gone};

promises! {
    children_of_a_killed_parent_finish_and_go: fork prefork prefork_thread;
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
