//! `xtask bench`, `xtask ci` and `xtask tidy` build and become the programs of other packages.
//!
//! Nothing here builds those: it would take minutes. What they do is tested beside them.

use std::process::{Command, Output};

fn xtask(cargo: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .env("CARGO", cargo)
        .args(arguments)
        .output()
        .expect("the program starts")
}

#[track_caller]
fn check(arguments: &str, expected: &str) {
    let output = xtask("echo", &arguments.split_whitespace().collect::<Vec<_>>());
    let expected = expected.replace("xtask/", concat!(env!("CARGO_MANIFEST_DIR"), "/"));
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), expected);
}

#[test]
fn the_bench_gets_all_arguments_as_they_came() {
    let cargo = "run --release --manifest-path xtask/bench/Cargo.toml --";
    check("bench", cargo);
    for arguments in ["--help", "--case churn --no-pin", "serve thread --log error"] {
        check(&format!("bench {arguments}"), &format!("{cargo} {arguments}"));
    }
}

#[test]
fn the_checks_are_built_as_for_the_tests() {
    for what in ["ci", "tidy"] {
        check(what, &format!("run --quiet --manifest-path xtask/checks/Cargo.toml -- {what}"));
    }
}

#[test]
fn a_command_ends_as_its_program_does() {
    for command in ["bench", "ci", "tidy"] {
        assert_eq!(xtask("true", &[command]).status.code(), Some(0));
        assert_eq!(xtask("false", &[command]).status.code(), Some(1));
    }
}
