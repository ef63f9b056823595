//! What the command line refuses, warns of and explains.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::Signal;
use xtask::launch::Server;
use xtask::model::Model;

use crate::raw::PATIENCE;

fn xtask(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(arguments).stdin(Stdio::null());
    command.output().expect("the program can be started")
}

#[test]
fn a_value_that_makes_no_sense_is_refused() {
    for (option, value, range) in [
        ("--workers", "0", "1..=1024"),
        ("--workers", "1025", "1..=1024"),
        ("--max-connections", "0", "1..=16384"),
        ("--max-connections", "16385", "1..=16384"),
        ("--max-children", "0", "1..=16384"),
        ("--max-children", "16385", "1..=16384"),
        ("--max-frame-len", "0", "1.."),
    ] {
        for model in Model::ALL {
            // Should the value be taken, the server ends nevertheless: it cannot have this address.
            let nowhere = ["serve", model.name(), "--addr", "unix:/nowhere/at/all"];
            let output = xtask(&[&nowhere[..], &[option, value]].concat());
            let error = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{option} {value}: {error}");
            for part in [option, value, range] {
                assert!(error.contains(part), "{option} {value}: {error}");
            }
        }
    }
}

#[test]
fn an_option_that_means_nothing_to_the_model_is_a_warning() {
    for (model, meaningless) in [
        (Model::Single, &["--workers", "--max-connections", "--max-children"][..]),
        (Model::Thread, &["--workers", "--max-children"]),
        (Model::Fork, &["--workers", "--max-connections"]),
        (Model::Prefork, &["--max-connections", "--max-children"]),
        (Model::PreforkThread, &["--max-children"]),
    ] {
        // The ends of the ranges.
        let all = ["--workers", "1", "--max-connections", "16384", "--max-children", "1"];
        let expected: Vec<String> =
            meaningless.iter().map(|option| format!("{option} means nothing to {model}")).collect();
        assert_eq!(warnings(model, &all), expected);
        assert_eq!(warnings(model, &[]), [""; 0]);
    }
}

/// What a server warns of from its start to its end.
fn warnings(model: Model, arguments: &[&str]) -> Vec<String> {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command
        .args(["serve", model.name(), "--addr", "127.0.0.1:0", "--log", "warn"])
        .args(arguments)
        .stderr(writer);
    let mut server = Server::start_command(command).expect("the server starts");
    server.signal(Signal::SIGTERM).expect("the server lives");
    let status = server.wait(PATIENCE).expect("it ends");
    assert!(status.success(), "{status}");
    let lines = BufReader::new(reader).lines().map_while(Result::ok);
    lines.filter_map(|line| Some(line.split_once(": ")?.1.to_owned())).collect()
}

#[test]
fn the_program_explains_itself() {
    let parts = ["ping ", "echo ", "pi ", "sleep ", "panic ", "abort ", "spin "];
    check_says(&["serve", "--help"], &parts);
    check_says(&["serve", "-h"], &parts);
    check_says(&["--version"], &[env!("CARGO_PKG_VERSION")]);
}

fn check_says(arguments: &[&str], parts: &[&str]) {
    let output = xtask(arguments);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{arguments:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{arguments:?}, {part:?}: {said}");
    }
}

#[test]
fn params_that_lost_their_quotes_get_a_hint() {
    let output = xtask(&["call", "127.0.0.1:1", "ping", "ireader 0"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    for part in ["not JSON: ireader 0", r#"'"like this"'"#] {
        assert!(error.contains(part), "{error}");
    }
}
