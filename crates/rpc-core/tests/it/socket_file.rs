use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{Backlog, listen};
use rpc_core::{Acceptor, Address, ServeError};

use crate::accepting::check_cannot_bind;
use crate::server::{Directory, Server};

fn bind(path: &Path) -> Acceptor {
    Acceptor::bind(&Address::unix(path)).unwrap()
}

fn check_is_socket(path: &Path) {
    let metadata = fs::symlink_metadata(path).unwrap();
    assert!(metadata.file_type().is_socket());
}

#[test]
fn only_the_owner_may_connect() {
    let directory = Directory::new();
    let path = directory.path("socket");
    let acceptor = bind(&path);
    let mode = fs::symlink_metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    assert_eq!(acceptor.address(), &Address::unix(&path));
}

#[test]
fn the_file_has_exactly_the_mode_that_was_asked_for() {
    let directory = Directory::new();
    for mode in [0, 0o200, 0o600, 0o660, 0o666, 0o777] {
        let path = directory.path("socket");
        let acceptor = Acceptor::bind_with_mode(&Address::unix(&path), mode).unwrap();
        let found = fs::symlink_metadata(&path).unwrap().permissions().mode();
        assert_eq!(found & 0o7777, mode, "{found:o} instead of {mode:o}");
        drop(acceptor);
        assert!(!path.exists());
    }
}

#[test]
fn a_mode_that_means_nothing_is_refused() {
    let directory = Directory::new();
    let path = directory.path("socket");
    for (address, mode) in [
        (Address::unix(&path), 0o1000),
        (Address::unix(&path), 0o4600),
        (Address::unix(&path), u32::MAX),
        ("127.0.0.1:0".parse().unwrap(), 0o600),
    ] {
        match Acceptor::bind_with_mode(&address, mode).err() {
            Some(ServeError::Bind { source, .. }) => {
                assert_eq!(source.kind(), ErrorKind::InvalidInput, "{address} {mode:o}");
            }
            other => panic!("{address} {mode:o}: {other:?}"),
        }
    }
    assert!(!path.exists());
}

#[test]
fn a_socket_left_to_others_is_neither_removed_nor_answered() {
    let directory = Directory::new();
    let path = directory.path("socket");
    let mut acceptor = bind(&path);
    let mut waiting = UnixStream::connect(&path).unwrap();
    acceptor.leave_socket_to_others();
    drop(acceptor);
    check_is_socket(&path);
    // No other process has the socket here, so the kernel ends the connection, without an answer.
    assert!(matches!(waiting.read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn the_file_is_removed_with_the_acceptor() {
    let directory = Directory::new();
    let path = directory.path("socket");
    drop(bind(&path));
    assert!(!path.exists());
    drop(bind(&path));
    assert!(!path.exists());
}

#[test]
fn the_file_is_removed_as_soon_as_accepting_has_ended() {
    let directory = Directory::new();
    let path = directory.path("socket");
    let mut acceptor = bind(&path);
    acceptor.shutdown().stop();
    assert!(acceptor.accept().unwrap().is_none());
    assert!(!path.exists());
    let next = bind(&path);
    drop(acceptor);
    check_is_socket(&path);
    drop(next);
}

/// Any process that can open a directory, such as /tmp, can lock it.
#[test]
fn a_directory_that_stays_locked_is_an_error_and_no_hang() {
    let directory = Directory::new();
    let path = directory.path("socket");
    let parent = fs::File::open(path.parent().unwrap()).unwrap();
    let lock = Flock::lock(parent, FlockArg::LockExclusive).unwrap();
    let refused = Acceptor::bind(&Address::unix(&path)).err();
    assert!(matches!(refused, Some(ServeError::Bind { .. })), "{refused:?}");
    drop(lock);
    bind(&path);
}

#[test]
fn a_stale_socket_file_is_replaced() {
    let directory = Directory::new();
    let path = directory.path("socket");
    drop(UnixListener::bind(&path).unwrap());
    check_is_socket(&path);
    let server = Server::ping_at(&Address::unix(&path));
    server.peer().ping();
    server.stop();
}

#[test]
fn a_socket_file_with_a_live_listener_is_never_replaced() {
    let directory = Directory::new();
    let path = directory.path("socket");
    let live = UnixListener::bind(&path).unwrap();
    check_cannot_bind(&Address::unix(&path), ErrorKind::AddrInUse);
    drop(live.accept().unwrap());
    let _peer = UnixStream::connect(&path).unwrap();
    live.accept().unwrap();
}

#[test]
fn a_listener_whose_queue_is_full_is_not_waited_for() {
    let directory = Directory::new();
    let path = directory.path("socket");
    let live = UnixListener::bind(&path).unwrap();
    listen(&live, Backlog::new(0).unwrap()).unwrap();
    let _only_one_in_the_queue = UnixStream::connect(&path).unwrap();
    let (done, finished) = channel();
    let address = Address::unix(&path);
    thread::spawn(move || {
        check_cannot_bind(&address, ErrorKind::AddrInUse);
        done.send(()).unwrap();
    });
    finished.recv_timeout(Duration::from_secs(20)).unwrap();
    check_is_socket(&path);
}

#[test]
fn a_file_that_is_no_socket_is_never_touched() {
    let directory = Directory::new();
    let file = directory.path("file");
    fs::write(&file, "precious").unwrap();
    check_cannot_bind(&Address::unix(&file), ErrorKind::AlreadyExists);
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");

    let folder = directory.path("folder");
    fs::create_dir(&folder).unwrap();
    check_cannot_bind(&Address::unix(&folder), ErrorKind::AlreadyExists);
    assert!(folder.is_dir());

    let stale = directory.path("stale");
    drop(UnixListener::bind(&stale).unwrap());
    let link = directory.path("link");
    symlink(&stale, &link).unwrap();
    check_cannot_bind(&Address::unix(&link), ErrorKind::AlreadyExists);
    assert!(link.is_symlink());
    check_is_socket(&stale);
}

#[test]
fn a_path_that_cannot_be_says_so() {
    let directory = Directory::new();
    let nowhere = directory.path("no such directory").join("socket");
    check_cannot_bind(&Address::unix(nowhere), ErrorKind::NotFound);
    let long = directory.path(&"x".repeat(108));
    check_cannot_bind(&Address::unix(&long), ErrorKind::InvalidFilename);
    assert!(!long.exists());
}

#[test]
fn a_file_that_has_replaced_the_socket_file_stays() {
    let directory = Directory::new();
    let path = directory.path("socket");
    let acceptor = bind(&path);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "another program's").unwrap();
    drop(acceptor);
    assert_eq!(fs::read_to_string(&path).unwrap(), "another program's");
    fs::remove_file(&path).unwrap();

    let acceptor = bind(&path);
    fs::remove_file(&path).unwrap();
    let server = Server::ping_at(&Address::unix(&path));
    drop(acceptor);
    server.peer().ping();
    server.stop();
    assert!(!path.exists());
}

#[test]
fn a_server_that_ends_never_removes_the_file_of_the_one_that_follows() {
    let directory = Directory::new();
    let path = directory.path("socket");
    for _ in 0..1000 {
        let first = bind(&path);
        let address = Address::unix(&path);
        let follower = thread::spawn(move || {
            loop {
                match Acceptor::bind(&address) {
                    Ok(acceptor) => return acceptor,
                    Err(ServeError::Bind { source, .. })
                        if source.kind() == ErrorKind::AddrInUse => {}
                    Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
                }
            }
        });
        drop(first);
        let second = follower.join().unwrap();
        check_is_socket(&path);
        drop(second);
    }
}
