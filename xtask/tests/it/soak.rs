//! The soak, as a user runs it, only for a shorter time.

use std::process::{Command, Output};

const MODELS: [&str; 5] = ["single", "thread", "fork", "prefork", "prefork-thread"];

fn soak(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("soak").args(arguments).output().expect("the soak runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the soak prints UTF-8")
}

#[test]
fn every_model_keeps_its_promises_and_gets_a_line() {
    let output = soak(&["--seconds", "8", "--seed", "1"]);
    let (figures, told) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{figures}\n{told}");
    let lines: Vec<_> = figures.lines().collect();
    assert_eq!(lines[0], "seed 1", "{figures}");
    let names: Vec<_> = lines[1..].iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, MODELS, "{figures}");
    let parts = ["good calls", "kills", "reloads", "descriptors", "zombies 0", "slowest good call"];
    for line in &lines[1..] {
        for part in parts {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    // What was to be done was done, although the run is short.
    for (line, (is_killed, reloads)) in lines[1..].iter().zip([
        (false, false),
        (false, false),
        (true, false),
        (true, true),
        (true, true),
    ]) {
        for (what, expected) in [("kills", is_killed), ("crashes", is_killed), ("reloads", reloads)]
        {
            let before = line.split(&format!(" {what}")).next().expect("split returns a part");
            let count = before.rsplit(' ').next();
            assert_eq!(count != Some("0"), expected, "{what}: {line}");
        }
    }
}

#[test]
fn a_descriptor_that_a_server_leaks_is_found() {
    let output = soak(&["--seconds", "1", "--seed", "7", "--model", "single", "--leak"]);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("descriptors are left, at most"), "{told}");
    assert!(told.contains("--seed 7"), "the way to run it again: {told}");
}
