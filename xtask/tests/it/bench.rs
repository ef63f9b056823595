//! `xtask bench` builds and becomes the program of another package.
//!
//! Nothing here builds that: it would take minutes. What that program does is tested there.

use std::process::{Command, Output};

fn bench(cargo: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .env("CARGO", cargo)
        .arg("bench")
        .args(arguments)
        .output()
        .expect("the program starts")
}

#[test]
fn the_bench_gets_all_arguments_as_they_came() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/Cargo.toml");
    for arguments in ["--help", "--case churn --no-pin", "serve thread --log error", ""] {
        let output = bench("echo", &arguments.split_whitespace().collect::<Vec<_>>());
        let expected = format!("run --release --manifest-path {manifest} -- {arguments}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), expected.trim_end());
    }
}

#[test]
fn the_bench_ends_as_its_program_does() {
    assert_eq!(bench("true", &[]).status.code(), Some(0));
    assert_eq!(bench("false", &[]).status.code(), Some(1));
}
