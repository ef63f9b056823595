//! Servers under test: the real program, with what this suite always wants.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use rpc_client::{CallError, Client, ErrorCode};
use tempfile::TempDir;
use xtask::launch::Server;
use xtask::model::Model;

use crate::raw::PATIENCE;

/// Starts `xtask serve MODEL` on a free TCP port.
pub(crate) fn start(model: Model, arguments: &[&str]) -> Server {
    start_at("127.0.0.1:0", model, arguments)
}

/// Starts `xtask serve MODEL` on `address`.
pub(crate) fn start_at(address: &str, model: Model, arguments: &[&str]) -> Server {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_xtask")));
    command
        .args(["serve", model.name(), "--addr", address])
        .args(arguments)
        // Where a core file would land that an abort leaves on some machines.
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        // Handlers panic on purpose here; their messages would look like failures of the suite.
        .stderr(Stdio::null());
    Server::start_command(command).expect("the server starts")
}

/// A client that has been served, however often it was told to come back later. When a server
/// notices that a connection has ended, or that a worker must be replaced, is the server's own.
pub(crate) fn connect_until_served(server: &Server) -> Client {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut client = server.connect().expect("the server accepts");
        match client.call_raw("ping", "is there a place?") {
            Ok(_) => return client,
            Err(error) if is_busy(&error) => {
                assert!(Instant::now() < deadline, "still busy: {error}");
            }
            Err(error) => panic!("neither served nor told to come back: {error:?}"),
        }
    }
}

fn is_busy(error: &CallError) -> bool {
    let refusal = error.rpc_error();
    refusal.and_then(|refusal| refusal.known_code()) == Some(ErrorCode::Busy)
}

/// A directory for the socket of one test; removed at the end.
pub(crate) struct Directory(TempDir);

impl Directory {
    pub(crate) fn new() -> Directory {
        // Not below target/: the path of a socket has at most 107 bytes (unix(7)).
        Directory(TempDir::with_prefix("rpc-contract-").expect("a new directory"))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.path().join("socket")
    }

    /// The address of the socket in it.
    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.socket().display())
    }
}
