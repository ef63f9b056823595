//! The pidfile: whose number it holds, how long, and what it may replace.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Child, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, mkfifo};
use serde_json::json;
use xtask::launch::Server;
use xtask::model::Model;
use xtask::proc;

use super::{
    Caller, Directory, PATIENCE, children, command_in, promises, serve, stop_cleanly, wait_until,
    wait_until_gone,
};

promises! {
    it_names_the_server_and_is_gone_after_the_stop: single thread fork prefork prefork_thread;
    a_second_server_is_told_who_holds_it: single thread fork prefork prefork_thread;
    it_is_free_when_its_process_was_killed_even_if_children_live_on: fork prefork prefork_thread;
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn content(path: &Path) -> String {
    fs::read_to_string(path).expect("a pidfile")
}

fn it_names_the_server_and_is_gone_after_the_stop(model: Model) {
    let directory = Directory::new();
    let path = directory.path().join("pid");
    let mut server = serve(model, &["--pid-file", &shown(&path)]);
    // Children that come and go do not touch it.
    for _ in 0..3 {
        Caller::served(&server);
        assert_eq!(content(&path), format!("{}\n", server.pid()));
    }
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
    stop_cleanly(&mut server, Signal::SIGTERM);
    assert!(!path.exists());
}

fn a_second_server_is_told_who_holds_it(model: Model) {
    let directory = Directory::new();
    let path = directory.path().join("pid");
    let server = serve(model, &["--pid-file", &shown(&path)]);
    // A child has ended since, which had a copy of the descriptor.
    Caller::served(&server);
    let error = refusal(model, &path);
    let holder = format!("is held by process {}", server.pid());
    assert!(error.contains(&holder), "{error}");
    assert_eq!(content(&path), format!("{}\n", server.pid()));
    Caller::served(&server);
}

fn it_is_free_when_its_process_was_killed_even_if_children_live_on(model: Model) {
    let directory = Directory::new();
    let path = directory.path().join("pid");
    let arguments = ["--workers", "1", "--grace", "90s", "--pid-file", &shown(&path)];
    let mut first = serve(model, &arguments);
    let mut busy = Caller::served(&first);
    // It is at work until it is killed below.
    busy.send_surely("sleep", json!(60_000));
    let child = children(&first, 1)[0];
    first.signal(Signal::SIGKILL).expect("the server lives");
    first.wait(PATIENCE).expect("it ends");
    assert_eq!(content(&path), format!("{}\n", first.pid()));

    let second = serve(model, &arguments);
    assert!(proc::is_alive(child), "the child still has its copy of the descriptor");
    assert_eq!(content(&path), format!("{}\n", second.pid()));
    // The end of the child does not take the lock of the second server along.
    kill(Pid::from_raw(child), Signal::SIGKILL).expect("the child lives");
    wait_until_gone(&[child]);
    assert!(refusal(model, &path).contains("is held by process"));
}

#[test]
fn of_many_servers_that_start_at_once_one_gets_it() {
    let directory = Directory::new();
    let path = directory.path().join("pid");
    for round in 0..5 {
        // Also where a file stays behind that is removed or taken over while others look at it.
        if round % 2 == 0 {
            fs::write(&path, "4194304\n").unwrap();
        }
        let start = |_| -> Child {
            let arguments = ["--pid-file", &shown(&path)];
            let mut command = command_in("", Model::Thread, "127.0.0.1:0", &arguments);
            let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
            command.stderr(Stdio::null()).spawn().expect("the program can be started")
        };
        let mut started: Vec<Child> = (0..6).map(start).collect();
        wait_until("all but one to give up", || {
            let ended = started.iter_mut().filter_map(|child| child.try_wait().unwrap());
            ended.count() == 5
        });
        let mut winner = started.into_iter().find_map(|mut child| match child.try_wait() {
            Ok(None) => Some(child),
            _ => None,
        });
        let winner = winner.as_mut().expect("one goes on");
        assert_eq!(content(&path), format!("{}\n", winner.id()));
        kill(Pid::from_raw(winner.id() as i32), Signal::SIGTERM).unwrap();
        winner.wait().unwrap();
        assert!(!path.exists());
    }
}

#[test]
fn what_a_dead_server_left_is_taken_over_and_what_somebody_else_put_there_since_stays() {
    let directory = Directory::new();
    let path = directory.path().join("pid");
    for left in ["", "1\n", "4194304\n", "12\n304\n"] {
        fs::write(&path, left).unwrap();
        let mut server = serve(Model::Thread, &["--pid-file", &shown(&path)]);
        assert_eq!(content(&path), format!("{}\n", server.pid()), "{left:?}");
        stop_cleanly(&mut server, Signal::SIGTERM);
    }
    let mut server = serve(Model::Thread, &["--pid-file", &shown(&path)]);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "somebody else's").unwrap();
    stop_cleanly(&mut server, Signal::SIGTERM);
    assert_eq!(content(&path), "somebody else's");
}

#[test]
fn what_is_no_pidfile_is_left_alone() {
    let directory = Directory::new();
    let precious = directory.path().join("precious");
    for (text, why) in [
        ("root:x:0:0:root:/root:/bin/bash\n", "its content is not a process id"),
        ("123456789012345678901234567890", "its content is not a process id"),
    ] {
        fs::write(&precious, text).unwrap();
        check_left_alone(&precious, &precious, why);
    }
    fs::write(&precious, "123\n").unwrap();
    let second_name = directory.path().join("second name");
    fs::hard_link(&precious, &second_name).unwrap();
    check_left_alone(&second_name, &precious, "it has other names");
    let link = directory.path().join("link");
    symlink(&precious, &link).unwrap();
    check_left_alone(&link, &precious, "symbolic links");
    let pipe = directory.path().join("pipe");
    mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(refusal(Model::Thread, &pipe).contains("not a regular file"));
    assert!(refusal(Model::Thread, directory.path()).contains("Is a directory"));
    let nowhere = directory.path().join("no such directory").join("pid");
    assert!(refusal(Model::Thread, &nowhere).contains("No such file or directory"));
}

#[track_caller]
fn check_left_alone(path: &Path, precious: &Path, why: &str) {
    let before = (content(precious), fs::metadata(precious).unwrap().ino());
    let error = refusal(Model::Thread, path);
    assert!(error.contains(why), "{error}");
    assert_eq!((content(precious), fs::metadata(precious).unwrap().ino()), before);
}

/// What a server says that cannot have this pidfile, and so does not serve.
fn refusal(model: Model, path: &Path) -> String {
    let mut command = command_in("", model, "127.0.0.1:0", &["--pid-file", &shown(path)]);
    let output: Output = command.stdin(Stdio::null()).output().expect("the program starts");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert_eq!(output.stdout, b"", "{error}");
    assert!(error.contains(&shown(path)), "{error}");
    error
}

#[test]
fn a_server_that_failed_to_start_leaves_none_behind() {
    let directory = Directory::new();
    let path = directory.path().join("pid");
    let arguments = ["--pid-file", &shown(&path), "--user", "no such user"];
    let mut command = command_in("", Model::Thread, "127.0.0.1:0", &arguments);
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(!path.exists());
    let _server: Server = serve(Model::Thread, &["--pid-file", &shown(&path)]);
    assert!(path.exists());
}
