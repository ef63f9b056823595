//! Standard output and standard error that nobody reads, or that are not there, change nothing.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::process::Stdio;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use serde_json::Value;
use xtask::launch::Server;
use xtask::model::Model;

use super::{Caller, Directory, command_in, promises, stop_cleanly, wait_until};

promises! {
    closed_outputs_change_nothing: single thread fork prefork prefork_thread;
    full_outputs_change_nothing: single thread fork prefork prefork_thread;
    outputs_whose_reader_has_gone_change_nothing: single thread fork prefork prefork_thread;
    full_pipes_that_nobody_reads_change_nothing: single thread fork prefork prefork_thread;
    thousands_of_panics_into_an_unread_pipe_change_nothing:
        single thread fork prefork prefork_thread;
}

fn closed_outputs_change_nothing(model: Model) {
    serves(model, ">&- 2>&-", Stdio::null(), 3);
}

fn full_outputs_change_nothing(model: Model) {
    let full = File::options().write(true).open("/dev/full").expect("the device");
    serves(model, ">&2", full, 3);
}

fn outputs_whose_reader_has_gone_change_nothing(model: Model) {
    let (_, writer) = pipe().expect("a pipe");
    serves(model, ">&2", writer, 3);
}

fn full_pipes_that_nobody_reads_change_nothing(model: Model) {
    let (_reader, writer) = full_pipe();
    serves(model, ">&2", writer, 3);
}

/// Each panic is a line: they are more than a pipe holds.
fn thousands_of_panics_into_an_unread_pipe_change_nothing(model: Model) {
    let (_reader, writer) = pipe().expect("a pipe");
    serves(model, ">&2", writer, 2000);
}

fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().expect("a pipe");
    let flags = |flags| fcntl(&writer, FcntlArg::F_SETFL(flags)).expect("flags of a pipe");
    flags(OFlag::O_NONBLOCK);
    // Down to the last byte, so that not even a short line has room.
    for len in [4096, 1] {
        let bytes = vec![b'\n'; len];
        while (&writer).write_all(&bytes).is_ok() {}
    }
    // The flag belongs to the pipe's end, which the server shares: it must find a pipe that waits.
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).expect("flags of a pipe");
    writer.flush().expect("nothing is buffered");
    (reader, writer)
}

/// Starts a server with the given standard error, and with standard output as the redirection of
/// the shell makes it. It answers, also `panics` calls of a handler that panics and thereby writes,
/// and it stops as ever.
fn serves(model: Model, redirection: &str, stderr: impl Into<Stdio>, panics: usize) {
    let directory = Directory::new();
    let address = directory.socket();
    // The shell says in the server's place what that cannot say.
    let preparation = format!("echo listening on {address}; exec {redirection}");
    let mut command = command_in(&preparation, model, &address, &["--workers", "1"]);
    command.stderr(stderr);
    let mut server = Server::start_command(command).expect("the shell starts");
    wait_until("the server listens", || server.connect().is_ok());
    let mut caller = Caller::served(&server);
    for _ in 0..panics {
        caller.send("panic", Value::Null);
        caller.expect_error(-32603);
    }
    caller.ping();
    stop_cleanly(&mut server, Signal::SIGTERM);
    caller.expect_shutdown();
}
