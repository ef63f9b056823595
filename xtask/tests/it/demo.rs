//! The demo, as a user runs it, only for a shorter time.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const MODELS: [&str; 5] = ["single", "thread", "fork", "prefork", "prefork-thread"];

const STEPS: [&str; 9] =
    ["session", "load", "second_client", "cores", "panic", "abort", "late", "idle", "stop"];

fn demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["demo", "--json", "--quick"]);
    command
}

#[test]
fn every_step_passes_in_every_model() {
    let output = demo().output().expect("the demo runs");
    let told = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("not JSON: {error}; it said: {told}"));
    assert_eq!(output.status.code(), Some(0), "{report:#}\n{told}");
    assert_eq!(report["passed"], true);

    let models = report["models"].as_array().expect("a list of models");
    let names: Vec<_> = models.iter().map(|model| &model["model"]).collect();
    assert_eq!(names, MODELS);
    for model in models {
        for step in STEPS {
            let found = &model["steps"][step];
            assert_eq!(found["passed"], true, "{step}: {model:#}");
            assert!(found["figures"].is_object(), "{step}: {model:#}");
        }
    }
    let lines: Vec<_> = told.lines().collect();
    assert_eq!(lines.len(), MODELS.len(), "a plain line a model: {told}");
}

#[test]
fn a_demo_that_is_stopped_leaves_no_server_behind() {
    let mut demo =
        demo().stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the demo runs");
    let pid = i32::try_from(demo.id()).expect("a process id");
    let stderr = demo.stderr.take().expect("a pipe");
    let mut lines = BufReader::new(stderr).lines();
    let first_line = lines.next();
    assert!(matches!(first_line, Some(Ok(_))), "{first_line:?}");
    let servers =
        await_some("a server", || Some(children_of(pid)).filter(|servers| !servers.is_empty()));
    kill(Pid::from_raw(pid), Signal::SIGTERM).expect("the demo runs");
    assert_eq!(demo.wait().expect("it ends").code(), Some(130));
    let last_line = lines.map_while(Result::ok).last();
    assert_eq!(last_line.as_deref(), Some("interrupted"));
    await_some("the servers' end", || servers.iter().all(|&pid| ended(pid)).then_some(()));
}

/// Other processes' lives can only be looked at; nothing tells of a grandchild's end.
fn await_some<Found>(what: &str, look: impl Fn() -> Option<Found>) -> Found {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match look() {
            Some(found) => return found,
            None => assert!(Instant::now() < deadline, "{what}: not in time"),
        }
        thread::yield_now();
    }
}

fn children_of(parent: i32) -> Vec<i32> {
    let processes = fs::read_dir("/proc").expect("/proc is there");
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| state_and_parent(pid).is_some_and(|(_, of)| of == parent))
        .collect()
}

fn ended(pid: i32) -> bool {
    state_and_parent(pid).is_none_or(|(state, _)| state == "Z")
}

fn state_and_parent(pid: i32) -> Option<(String, i32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.to_owned(), fields.next()?.parse().ok()?))
}
