//! `xtask tidy`: this repository passes, and one that breaks the rules is told every place.
//!
//! What each rule finds is tested beside the rule; here is what people and scripts see.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Output};

fn tidy(directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask-checks"))
        .arg("tidy")
        .current_dir(directory)
        .output()
        .expect("it was built for this test")
}

/// A workspace of its own, made of these files.
fn workspace(name: &str, files: &[(&str, &str)]) -> PathBuf {
    // Two runs of the tests at once must not meet.
    let name = format!("{name}-{}", process::id());
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    for (path, text) in files {
        let path = root.join(path);
        let directory = path.parent().expect("every file is in the workspace");
        fs::create_dir_all(directory).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

#[test]
fn this_repository_is_tidy() {
    let output = tidy(Path::new(env!("CARGO_MANIFEST_DIR")));
    let violations = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "\n{violations}");
}

#[test]
fn every_violation_is_one_line_with_its_place() {
    let root = workspace(
        "untidy",
        &[
            (
                "Cargo.toml",
                "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\nexclude = [\"others\"]\n",
            ),
            (
                "others/looks-harmless/Cargo.toml",
                "[package]\nname = \"looks-harmless\"\nlicense = \"MIT OR GPL-3.0-only\"\n\n\
                    [dependencies]\ntokio = { path = \"../tokio\" }\n",
            ),
            ("others/looks-harmless/src/lib.rs", ""),
            (
                "others/tokio/Cargo.toml",
                "[package]\nname = \"tokio\"\nlicense = \"MIT AND GPL-3.0-only\"\n",
            ),
            ("others/tokio/src/lib.rs", ""),
            (
                "crates/rpc-proto/Cargo.toml",
                "[package]\nname = \"rpc-proto\"\nedition = \"2024\"\n\n[dependencies]\n\
                    rpc-client = { path = \"../rpc-client\" }\ntokio = { path = \"../../others/tokio\" }\n",
            ),
            (
                "crates/rpc-proto/src/lib.rs",
                "use std::net::IpAddr;\n#[allow(unsafe_code)]\nmod a {}\n",
            ),
            (
                "crates/rpc-client/Cargo.toml",
                "[package]\nname = \"rpc-client\"\n\n\
                    [dependencies]\nlooks-harmless = { path = \"../../others/looks-harmless\" }\n",
            ),
            (
                "crates/rpc-client/src/lib.rs",
                "//! Calls.\n\n#![forbid(unsafe_code)]\n\nmod util;\n",
            ),
            ("crates/rpc-client/src/util.rs", "//! Anything.\n"),
            ("README.md", "$ cargo test\n\n[wire](docs/wires.md)\n"),
            ("docs/wire.md", "| `-32700` | `ParseError` | parser error |\n"),
            (".ci/run", "cargo test --workspace\n"),
            ("notes.txt", "\n"),
        ],
    );
    let output = tidy(&root);
    fs::remove_dir_all(&root).unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();

    assert_eq!(output.status.code(), Some(1), "{stderr}");
    for expected in [
        ".ci/run:1: does not call `cargo run --quiet --package xtask-checks -- ci` (",
        "README.md:1: `cargo test` is no step of `cargo xtask ci` (",
        "README.md:3: links to `docs/wires.md`, which does not exist (",
        "Cargo.lock:13: `rpc-client` has the licence none (",
        "Cargo.lock:28: `tokio` has the licence MIT AND GPL-3.0-only (",
        "crates/rpc-client/Cargo.toml:1: has an asynchronous runtime below it: \
            rpc-client → looks-harmless → tokio (",
        "crates/rpc-client/Cargo.toml:1: has no LICENSE-MIT beside it (",
        "crates/rpc-client/Cargo.toml:1: has no `description` (",
        "crates/rpc-client/src/lib.rs:1: does not have [\"# When to use it\", ",
        "crates/rpc-client/src/lib.rs:5: has a module `util` (",
        "crates/rpc-client/src/util.rs:1: is called `util` (",
        "crates/rpc-proto/Cargo.toml:1: has no `[lints]` with `workspace = true` (",
        "crates/rpc-proto/Cargo.toml:6: depends on `rpc-client` (",
        "crates/rpc-proto/Cargo.toml:7: depends on `tokio` (",
        "crates/rpc-proto/src/lib.rs:1: does not begin with `//!` (",
        "crates/rpc-proto/src/lib.rs:2: allows `unsafe_code` (",
        "crates/rpc-proto/src/lib.rs:1: names `std::net` (",
        "docs/wire.md:1: -32700 is not listed as `ParseError` | parse error (",
        "docs/wire.md:1: does not list `MAX_FRAME_LEN` (",
        "notes.txt:1: does not belong at the top level (",
    ] {
        let found = stdout.lines().any(|line| line.starts_with(expected) && line.ends_with(')'));
        assert!(found, "no line begins with {expected:?} in\n{stdout}");
    }
    let count = stdout.lines().count();
    assert_eq!(stderr, format!("error: violations of docs/architecture.md: {count}\n"));
}
