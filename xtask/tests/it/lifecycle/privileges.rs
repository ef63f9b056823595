//! Dropping from root to an ordinary user. Only root can try most of it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::Signal;
use xtask::launch::Server;
use xtask::model::Model;
use xtask::proc;

use super::access::own_uid;
use super::{Caller, Directory, command_in, promises, stop_cleanly};

promises! {
    every_process_belongs_to_the_user_for_good: single thread fork prefork prefork_thread;
    files_in_a_directory_of_the_user_are_removed_at_the_end:
        single thread fork prefork prefork_thread;
}

/// What every Linux system calls the user without rights.
const NOBODY: &str = "65534";

/// Whether this test can be run. If not, says so where no test harness hides it.
fn is_root(test: &str) -> bool {
    let is_root = own_uid() == 0;
    if !is_root {
        let _ = writeln!(io::stderr(), "NOT TESTED, since only root can: {test}");
    }
    is_root
}

fn serve_as_nobody(model: Model, directory: &Directory) -> Server {
    let pid_file = directory.path().join("pid").display().to_string();
    let arguments = ["--pid-file", &pid_file, "--user", NOBODY, "--workers", "2"];
    let mut command = command_in("", model, &directory.socket(), &arguments);
    command.stderr(Stdio::null());
    Server::start_command(command).expect("the server starts")
}

/// The lines Uid, Gid and Groups of proc(5), and the capabilities that it could use.
fn rights(pid: i32) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let is_of_rights = |line: &&str| {
        let names = ["Uid:", "Gid:", "Groups:", "CapPrm:", "CapEff:", "CapAmb:"];
        names.iter().any(|name| line.starts_with(name))
    };
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    status.lines().filter(is_of_rights).map(words).collect()
}

fn every_process_belongs_to_the_user_for_good(model: Model) {
    if !is_root("every_process_belongs_to_the_user_for_good") {
        return;
    }
    let directory = Directory::new();
    let mut server = serve_as_nobody(model, &directory);
    let _caller = Caller::served(&server);
    let none = "0000000000000000";
    let expected = [
        "Uid: 65534 65534 65534 65534".to_owned(),
        "Gid: 65534 65534 65534 65534".to_owned(),
        "Groups: 65534".to_owned(),
        format!("CapPrm: {none}"),
        format!("CapEff: {none}"),
        format!("CapAmb: {none}"),
    ];
    for pid in proc::tree(server.pid()) {
        assert_eq!(rights(pid), expected);
    }
    let socket = fs::metadata(directory.path().join("socket")).unwrap();
    assert_eq!((socket.uid(), socket.gid()), (65534, 65534));

    // The directory is root's: neither file can be removed, but both can be taken over.
    stop_cleanly(&mut server, Signal::SIGTERM);
    assert_eq!(fs::read_to_string(directory.path().join("pid")).unwrap(), "");
    assert!(directory.path().join("socket").exists());
    let again = serve_as_nobody(model, &directory);
    Caller::served(&again);
}

fn files_in_a_directory_of_the_user_are_removed_at_the_end(model: Model) {
    if !is_root("files_in_a_directory_of_the_user_are_removed_at_the_end") {
        return;
    }
    let directory = Directory::new();
    chown(directory.path(), Some(65534), Some(65534)).unwrap();
    let mut server = serve_as_nobody(model, &directory);
    Caller::served(&server);
    stop_cleanly(&mut server, Signal::SIGTERM);
    let left: Vec<_> = fs::read_dir(directory.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn accounts_that_are_none_are_refused() {
    for (arguments, why) in [
        (&["--user", "no such user"][..], "there is no user `no such user`"),
        (&["--user", "4294967290"], "there is no user `4294967290`"),
        (&["--user", NOBODY, "--group", "no such group"], "there is no group `no such group`"),
        (&["--user", "root"], "would drop none"),
        (&["--user", "0"], "would drop none"),
        (&["--user", NOBODY, "--group", "0"], "would drop none"),
    ] {
        let error = refusal("", arguments);
        assert!(error.contains(why), "{arguments:?}: {error}");
    }
}

#[test]
fn a_user_that_is_not_root_cannot_become_another() {
    if own_uid() != 0 {
        let error = refusal("", &["--user", NOBODY]);
        assert!(error.contains("only root"), "{error}");
        return;
    }
    let mut command = command_in("", Model::Thread, "127.0.0.1:0", &["--user", "1"]);
    command.uid(65534).gid(65534).stdin(Stdio::null());
    let output = command.output().expect("sh can be started");
    let error = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(126) {
        let text = "NOT TESTED, since nobody can run the program where it lies: ";
        let _ = writeln!(io::stderr(), "{text}a_user_that_is_not_root_cannot_become_another");
        return;
    }
    assert!(error.contains("only root"), "{error}");
    assert!(error.contains("65534"), "{error}");
}

/// As a server that was started anew by one that had dropped its privileges.
#[test]
fn a_process_that_is_that_user_already_stays_it() {
    if !is_root("a_process_that_is_that_user_already_stays_it") {
        return;
    }
    let mut command = command_in("", Model::Thread, "127.0.0.1:0", &["--user", NOBODY]);
    command.uid(65534).gid(65534).stderr(Stdio::null());
    match Server::start_command(command) {
        Ok(server) => drop(Caller::served(&server)),
        Err(error) => assert!(!is_reachable(), "{error:#}"),
    }
}

/// Whether every user may walk to the program.
fn is_reachable() -> bool {
    let program = Path::new(super::PROGRAM);
    program.ancestors().all(|path| fs::metadata(path).is_ok_and(|found| found.mode() & 0o1 != 0))
}

fn refusal(preparation: &str, arguments: &[&str]) -> String {
    let mut command = command_in(preparation, Model::Thread, "127.0.0.1:0", arguments);
    let output = command.stdin(Stdio::null()).output().expect("the program can be started");
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}
