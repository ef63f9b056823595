//! Starting: the address that is reported, the address that is taken.

use std::process::Stdio;
use std::time::Instant;

use nix::sys::signal::Signal;
use xtask::launch::Server;
use xtask::model::Model;

use super::{
    AT_ONCE, Caller, Directory, PATIENCE, command_in, port, promises, serve, stop_cleanly,
};

promises! {
    the_ready_line_tells_the_real_port: single thread fork prefork prefork_thread;
    a_taken_port_is_refused_at_once: single thread fork prefork prefork_thread;
    a_taken_socket_file_is_refused_at_once: single thread fork prefork prefork_thread;
    a_socket_file_is_gone_after_the_stop: single thread fork prefork prefork_thread;
    a_new_server_takes_the_port_of_one_that_had_connections:
        single thread fork prefork prefork_thread;
}

fn the_ready_line_tells_the_real_port(model: Model) {
    let server = serve(model, &[]);
    assert_ne!(port(&server).port(), 0);
    Caller::connect(&server).ping();
}

fn a_taken_port_is_refused_at_once(model: Model) {
    let server = serve(model, &[]);
    refuses(model, &server);
    Caller::connect(&server).ping();
}

fn a_taken_socket_file_is_refused_at_once(model: Model) {
    let directory = Directory::new();
    let server = serve_on(model, &directory.socket());
    refuses(model, &server);
    Caller::connect(&server).ping();
}

/// A second server cannot have the address of `server`, and says which one that is.
fn refuses(model: Model, server: &Server) {
    let address = server.address().to_string();
    let begin = Instant::now();
    let second = command_in("", model, &address, &[]).stdin(Stdio::null()).output();
    let second = second.expect("the program can be started");
    let error = String::from_utf8_lossy(&second.stderr);
    assert!(begin.elapsed() < PATIENCE);
    assert_eq!(second.status.code(), Some(1), "{error}");
    assert!(error.contains(&address), "{error}");
    assert!(error.contains("in use"), "{error}");
    assert_eq!(second.stdout, b"");
}

fn a_socket_file_is_gone_after_the_stop(model: Model) {
    let directory = Directory::new();
    let mut server = serve_on(model, &directory.socket());
    Caller::served(&server);
    stop_cleanly(&mut server, Signal::SIGTERM);
    assert!(!directory.path().join("socket").exists());
}

fn a_new_server_takes_the_port_of_one_that_had_connections(model: Model) {
    let mut first = serve(model, &[]);
    let address = first.address().to_string();
    let _open = Caller::served(&first);
    assert!(stop_cleanly(&mut first, Signal::SIGTERM) < AT_ONCE);
    Caller::connect(&serve_on(model, &address)).ping();
}

fn serve_on(model: Model, address: &str) -> Server {
    let mut command = command_in("", model, address, &[]);
    command.stderr(Stdio::null());
    Server::start_command(command).expect("the address is free")
}
