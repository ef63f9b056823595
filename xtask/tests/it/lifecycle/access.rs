//! Who may connect to a Unix socket: the mode of its file, the users on the list.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Stdio;

use serde_json::json;
use xtask::model::Model;

use super::{Caller, PATIENCE, command_in, promises, serve, serve_on_socket};

promises! {
    a_user_on_the_list_is_served: single thread fork prefork prefork_thread;
    a_user_who_is_not_on_the_list_is_told_so: single thread fork prefork prefork_thread;
    many_who_are_refused_keep_nobody_from_being_refused: single prefork;
}

pub(super) fn own_uid() -> u32 {
    fs::metadata("/proc/self").expect("proc is mounted").uid()
}

fn a_user_on_the_list_is_served(model: Model) {
    let own = own_uid().to_string();
    let arguments = ["--allow-uid", "4294967294", "--allow-uid", &own];
    let (server, _directory) = serve_on_socket(model, &arguments);
    Caller::connect(&server).ping();
}

fn a_user_who_is_not_on_the_list_is_told_so(model: Model) {
    let somebody_else = (own_uid() + 1).to_string();
    let (server, _directory) = serve_on_socket(model, &["--allow-uid", &somebody_else]);
    let mut silent = Caller::connect(&server);
    let mut eager = Caller::connect(&server);
    let _ = eager.try_send("ping", json!("let me in"));
    for caller in [&mut silent, &mut eager] {
        let error = caller.expect_error(-32007);
        assert_eq!(error["data"], json!({ "executed": "no", "uid": own_uid() }));
        assert_eq!(caller.receive(), None);
    }
}

fn many_who_are_refused_keep_nobody_from_being_refused(model: Model) {
    let somebody_else = (own_uid() + 1).to_string();
    let (server, _directory) = serve_on_socket(model, &["--allow-uid", &somebody_else]);
    // None of them closes, so each is a farewell that the server has open.
    let mut callers: Vec<_> = (0..200).map(|_| Caller::connect(&server)).collect();
    for caller in &mut callers {
        caller.expect_error(-32007);
    }
}

#[test]
fn the_file_of_the_socket_has_the_mode_that_was_asked_for() {
    for (arguments, expected) in [
        (&[][..], 0o600),
        (&["--umask", "0"], 0o600),
        (&["--socket-mode", "0660"], 0o660),
        (&["--socket-mode", "666", "--umask", "077"], 0o666),
        (&["--socket-mode", "0"], 0),
    ] {
        let (_server, directory) = serve_on_socket(Model::Single, arguments);
        let mode = fs::metadata(directory.path().join("socket")).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, expected, "{arguments:?}");
    }
}

#[test]
fn what_would_protect_nothing_is_refused() {
    for arguments in [["--allow-uid", "0"], ["--socket-mode", "0600"]] {
        let mut command = command_in("", Model::Thread, "127.0.0.1:0", &arguments);
        let output = command.stdin(Stdio::null()).output().expect("the program can be started");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains("Unix socket"), "{arguments:?}: {error}");
    }
    // Without a list nobody is asked.
    let mut server = serve(Model::Thread, &[]);
    Caller::served(&server);
    server.stop(PATIENCE).expect("it ends");
}
