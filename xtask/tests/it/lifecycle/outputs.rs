//! Standard output and standard error that nobody reads, or that are not there, change nothing.

use std::fs::File;
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use serde_json::Value;
use xtask::launch::Server;
use xtask::model::Model;

use super::{Caller, Directory, PATIENCE, command_in, promises, stop_cleanly};

promises! {
    closed_outputs_change_nothing: single thread fork prefork prefork_thread;
    full_outputs_change_nothing: single thread fork prefork prefork_thread;
    outputs_whose_reader_has_gone_change_nothing: single thread fork prefork prefork_thread;
    full_pipes_that_nobody_reads_change_nothing: single thread fork prefork prefork_thread;
    thousands_of_panics_into_an_unread_pipe_change_nothing:
        single thread fork prefork prefork_thread;
}

fn closed_outputs_change_nothing(model: Model) {
    serves(model, ">&- 2>&-", |_| {}, 3);
}

fn full_outputs_change_nothing(model: Model) {
    let full = || File::options().write(true).open("/dev/full").expect("the device");
    serves(
        model,
        "",
        |command| {
            command.stdout(full()).stderr(full());
        },
        3,
    );
}

fn outputs_whose_reader_has_gone_change_nothing(model: Model) {
    let (_, writer) = pipe().expect("a pipe");
    serves(model, "", |command| into_pipe(command, writer), 3);
}

fn full_pipes_that_nobody_reads_change_nothing(model: Model) {
    let (_reader, writer) = full_pipe();
    serves(model, "", |command| into_pipe(command, writer), 3);
}

/// Each panic is a line: they are more than a pipe holds.
fn thousands_of_panics_into_an_unread_pipe_change_nothing(model: Model) {
    let (_reader, writer) = pipe().expect("a pipe");
    serves(model, "", |command| into_pipe(command, writer), 2000);
}

fn into_pipe(command: &mut Command, writer: PipeWriter) {
    let again = writer.try_clone().expect("a descriptor");
    command.stdout(writer).stderr(again);
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

/// Starts a server with the given outputs. It answers, also `panics` calls of a handler that
/// panics and thereby writes, and it stops as ever.
fn serves(model: Model, redirection: &str, outputs: impl FnOnce(&mut Command), panics: usize) {
    let directory = Directory::new();
    let address = directory.socket();
    let preparation = match redirection {
        "" => String::new(),
        redirection => format!("exec {redirection}"),
    };
    let mut command = command_in(&preparation, model, &address, &["--workers", "1"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    outputs(&mut command);
    let address = address.parse().expect("an address");
    let mut server =
        Server::start_speechless(command, address, PATIENCE).expect("the server starts");
    let mut caller = Caller::served(&server);
    for _ in 0..panics {
        caller.send("panic", Value::Null);
        caller.expect_error(-32603);
    }
    caller.ping();
    stop_cleanly(&mut server, Signal::SIGTERM);
    caller.expect_shutdown();
}
