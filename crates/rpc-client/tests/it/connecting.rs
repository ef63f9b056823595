use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};
use std::{error::Error, fs, io};

use nix::sys::socket::{Backlog, listen};
use rpc_client::{Address, CallError, Client};

use crate::peer::{Peer, expect_end, unused_path};

fn check_fails(address: &Address, expected: ErrorKind) {
    let builder = Client::builder().connect_timeout(Duration::from_millis(200));
    let begun = Instant::now();
    let Err(error) = builder.connect(address) else {
        panic!("connected to {address}");
    };
    assert!(begun.elapsed() < Duration::from_secs(10), "far too late");
    assert_eq!(error.to_string(), format!("cannot connect to {address}"));
    let source = error.source().and_then(|source| source.downcast_ref());
    assert_eq!(source.map(io::Error::kind), Some(expected), "{address}");
    assert!(matches!(error, CallError::Connect { address: at, .. } if at == *address));
}

#[test]
fn a_port_without_a_listener_refuses() {
    // The local port of a connection belongs to it, so nothing can listen there.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let taken = connection.local_addr().unwrap();
    check_fails(&taken.into(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_socket_file_that_is_missing_stale_or_another_file_cannot_be_connected_to() {
    let path = unused_path();
    check_fails(&Address::unix(&path), ErrorKind::NotFound);
    drop(UnixListener::bind(&path).unwrap());
    check_fails(&Address::unix(&path), ErrorKind::ConnectionRefused);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "not a socket").unwrap();
    check_fails(&Address::unix(&path), ErrorKind::ConnectionRefused);
    fs::remove_file(&path).unwrap();
    check_fails(&Address::unix("/x".repeat(100)), ErrorKind::InvalidFilename);
}

#[test]
fn waiting_for_a_full_queue_of_a_unix_socket_ends_at_the_time_out() {
    let path = unused_path();
    let listener = UnixListener::bind(&path).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let _only_one_in_the_queue = UnixStream::connect(&path).unwrap();
    check_fails(&Address::unix(&path), ErrorKind::TimedOut);
    fs::remove_file(&path).unwrap();
}

#[test]
fn every_address_of_a_host_is_tried() {
    let peer = Peer::tcp(expect_end);
    let port = peer.address.to_string().replace("127.0.0.1:", "");
    let by_name = Address::Tcp(format!("localhost:{port}"));
    drop(Client::connect(&by_name).unwrap());
    peer.join();
}
