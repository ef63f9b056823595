//! The peers stay out of this workspace, and the project's own client is driven as they are.
//!
//! Nothing here builds a peer: that takes minutes and downloads.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use cargo_metadata::{Metadata, MetadataCommand};
use serde_json::Value;
use xtask::launch::Server;
use xtask::model::Model;

const PROGRAM: &str = env!("CARGO_BIN_EXE_xtask-bench");

fn metadata(manifest: &str) -> Metadata {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join(manifest);
    let mut command = MetadataCommand::new();
    command.manifest_path(manifest).no_deps().exec().unwrap()
}

fn names(metadata: &Metadata) -> BTreeSet<String> {
    let packages = metadata.workspace_packages();
    packages.iter().map(|found| found.name.to_string()).collect()
}

#[test]
fn the_peers_are_a_workspace_of_their_own() {
    let ours = metadata("Cargo.toml");
    let theirs = metadata("../peers/Cargo.toml");
    assert!(names(&ours).is_disjoint(&names(&theirs)));
    assert_ne!(ours.workspace_root, theirs.workspace_root);
    assert!(theirs.workspace_root.join("Cargo.lock").is_file());
}

fn drive(server: &Server, arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(["drive", &server.address().to_string(), "--seconds", "0.01"])
        .args(arguments)
        .output()
        .unwrap()
}

fn start() -> Server {
    Server::start(Path::new(PROGRAM), Model::Thread, ["--log", "error"]).unwrap()
}

#[test]
fn a_driver_prints_what_it_measured() {
    let mut server = start();
    for arguments in [
        ["--connections", "1"].as_slice(),
        &["--connections", "3"],
        &["--payload", "100000"],
        &["--churn"],
    ] {
        let output = drive(&server, arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        let driven: Value = serde_json::from_slice(&output.stdout).unwrap();
        let number = |name: &str| driven[name].as_f64().expect("a number");
        assert!(number("calls") >= 1.0, "{arguments:?}: {driven:?}");
        assert!(number("seconds") >= 0.01, "{arguments:?}: {driven:?}");
        let in_order = 0.0 < number("p50_us") && number("p50_us") <= number("p99_us");
        assert!(in_order, "{arguments:?}: {driven:?}");
    }
    assert!(server.stop(Duration::from_secs(20)).unwrap().success());
}

#[test]
fn a_driver_refuses_what_the_client_cannot_do() {
    let mut server = start();
    for arguments in [["--in-flight", "2"], ["--connections", "0"]] {
        let output = drive(&server, &arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
    assert!(server.stop(Duration::from_secs(20)).unwrap().success());
}
