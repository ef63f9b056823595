use std::error::Error;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::process;

use rpc_core::{Acceptor, Address, ErrorCode, Peer as RemotePeer, RpcError, ServeError, busy};

use crate::server::{Directory, Peer, Server, any_port, ping_service};

pub(crate) fn check_cannot_bind(address: &Address, expected: ErrorKind) {
    let Err(error) = Acceptor::bind(address) else {
        panic!("bound {address}");
    };
    assert_eq!(error.to_string(), format!("cannot listen on {address}"));
    let source = error.source().and_then(|source| source.downcast_ref());
    assert_eq!(source.map(io::Error::kind), Some(expected), "{address}");
    assert!(matches!(error, ServeError::Bind { address: at, .. } if at == *address));
}

fn check_second_server(address: &Address) {
    let server = Server::ping_at(address);
    check_cannot_bind(&server.address, ErrorKind::AddrInUse);
    check_cannot_bind(&server.address, ErrorKind::AddrInUse);
    server.peer().ping();
    server.stop();
}

#[test]
fn a_second_server_on_the_same_address_fails_and_the_first_goes_on() {
    check_second_server(&any_port());
    let directory = Directory::new();
    check_second_server(&Address::unix(directory.path("socket")));
}

#[test]
fn port_0_becomes_the_real_port_which_is_free_again_after_the_stop() {
    let server = Server::ping_at(&any_port());
    let address = server.address.clone();
    assert!(!address.to_string().ends_with(":0"), "{address}");
    let mut peer = server.peer();
    peer.ping();
    // The server closes first, so its side of this connection lingers in the kernel.
    server.stop();
    let again = Server::ping_at(&address);
    assert_eq!(again.address, address);
    again.peer().ping();
    again.stop();
}

#[test]
fn an_accepted_connection_knows_its_peer() {
    let mut acceptor = Acceptor::bind(&any_port()).unwrap();
    let _peer = Peer::connect(acceptor.address());
    let conn = acceptor.accept().unwrap().unwrap();
    assert!(matches!(conn.peer(), RemotePeer::Tcp(address) if address.ip().is_loopback()));
    let directory = Directory::new();
    let mut acceptor = Acceptor::bind(&Address::unix(directory.path("socket"))).unwrap();
    let _peer = Peer::connect(acceptor.address());
    let RemotePeer::Unix(peer) = acceptor.accept().unwrap().unwrap().peer() else {
        panic!("a Unix socket has Unix peers");
    };
    let own = fs::metadata("/proc/self").unwrap();
    assert_eq!((peer.pid, peer.uid, peer.gid), (process::id() as i32, own.uid(), own.gid()));
}

#[test]
fn a_refused_connection_reads_why_and_is_closed() {
    let directory = Directory::new();
    for address in [any_port(), Address::unix(directory.path("socket"))] {
        let mut acceptor = Acceptor::bind(&address).unwrap();
        let mut silent = Peer::connect(acceptor.address());
        let mut eager = Peer::connect(acceptor.address());
        eager.send(&[0; 1000]);
        for _ in 0..2 {
            let conn = acceptor.accept().unwrap().unwrap();
            acceptor.refuse(conn, &busy("connections", 7));
        }
        for peer in [&mut silent, &mut eager] {
            let refusal = peer.refusal();
            assert_eq!(refusal.known_code(), Some(ErrorCode::Busy));
            let data = refusal.data.as_deref().map(|data| data.get());
            assert_eq!(data, Some(r#"{"executed":"no","limit":7}"#));
            peer.expect_end();
        }
    }
}

#[test]
fn more_refused_connections_than_can_linger_all_read_why() {
    let mut acceptor = Acceptor::bind(&any_port()).unwrap();
    let mut peers = Vec::new();
    for number in 0..200 {
        peers.push(Peer::connect(acceptor.address()));
        let conn = acceptor.accept().unwrap().unwrap();
        acceptor.refuse(conn, &RpcError::new(number, "no"));
    }
    for (number, peer) in (0..).zip(&mut peers) {
        assert_eq!(peer.refusal().code, number);
        peer.expect_end();
    }
}

#[test]
fn a_list_of_users_keeps_out_peers_whose_user_is_unknown() {
    let acceptor = Acceptor::bind(&any_port()).unwrap().with_allowed_uids([0, u32::MAX]);
    let server = Server::start(acceptor, ping_service());
    let mut peer = server.peer();
    let refusal = peer.refusal();
    assert_eq!(refusal.known_code(), Some(ErrorCode::AccessDenied));
    assert_eq!(refusal.data.unwrap().get(), r#"{"executed":"no","uid":null}"#);
    peer.expect_end();
    server.stop();
}
