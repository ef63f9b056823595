use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::thread;

use rpc_core::{Acceptor, Address, ErrorCode, Method, Registry, Service};

use crate::server::{Directory, Peer, Server, any_port, frame, ping_service};

fn check_reads_the_stop(peer: &mut Peer) {
    let refusal = peer.refusal();
    assert_eq!(refusal.known_code(), Some(ErrorCode::ShuttingDown), "{refusal}");
    let data = refusal.data.as_deref().map(|data| data.get());
    assert_eq!(data, Some(r#"{"executed":"no"}"#));
    peer.expect_end();
}

fn both_families(directory: &Directory) -> [Address; 2] {
    [any_port(), Address::unix(directory.path("socket"))]
}

#[test]
fn a_stop_ends_accepting_at_once_and_for_good() {
    for address in both_families(&Directory::new()) {
        let mut acceptor = Acceptor::bind(&address).unwrap();
        let shutdown = acceptor.shutdown();
        assert!(!shutdown.is_stopping());
        let accepting = thread::spawn(move || {
            assert!(acceptor.accept().unwrap().is_none());
            acceptor
        });
        shutdown.stop();
        let mut acceptor = accepting.join().unwrap();
        assert!(shutdown.is_stopping());
        shutdown.stop();
        assert!(acceptor.accept().unwrap().is_none(), "nor later");
    }
}

#[test]
fn peers_in_the_queue_read_the_stop() {
    for address in both_families(&Directory::new()) {
        let mut acceptor = Acceptor::bind(&address).unwrap();
        let mut silent = Peer::connect(acceptor.address());
        let mut eager = Peer::connect(acceptor.address());
        eager.send(&frame(r#"{"in":"ping","params":"x"}"#));
        acceptor.shutdown().stop();
        assert!(acceptor.accept().unwrap().is_none());
        check_reads_the_stop(&mut silent);
        let refusal = eager.refusal();
        assert_eq!(refusal.known_code(), Some(ErrorCode::ShuttingDown));
    }
}

#[test]
fn peers_in_the_queue_are_answered_when_the_acceptor_is_closed() {
    let acceptor = Acceptor::bind(&any_port()).unwrap();
    let mut peer = Peer::connect(acceptor.address());
    acceptor.close();
    check_reads_the_stop(&mut peer);
}

#[test]
fn an_idle_connection_reads_the_stop_and_ends_at_once() {
    for address in both_families(&Directory::new()) {
        let server = Server::ping_at(&address);
        let mut peer = server.peer();
        peer.ping();
        server.shutdown.stop();
        check_reads_the_stop(&mut peer);
        server.join();
    }
}

#[test]
fn a_connection_that_was_accepted_before_the_stop_and_is_served_after_it_reads_the_stop() {
    let mut acceptor = Acceptor::bind(&any_port()).unwrap();
    let mut peer = Peer::connect(acceptor.address());
    let conn = acceptor.accept().unwrap().unwrap();
    acceptor.shutdown().stop();
    ping_service().serve_conn(conn);
    check_reads_the_stop(&mut peer);
}

#[test]
fn a_stop_does_not_wait_for_the_rest_of_a_request() {
    let server = Server::ping_at(&any_port());
    let mut peer = server.peer();
    let request = frame(r#"{"in":"ping","params":"x"}"#);
    peer.send(&[&request[..], &request[..10]].concat());
    assert_eq!(peer.reply().0, "pong");
    server.shutdown.stop();
    check_reads_the_stop(&mut peer);
    server.join();
}

#[test]
fn requests_that_were_received_are_answered() {
    for address in both_families(&Directory::new()) {
        let (entered, in_handler) = channel();
        let (release, may_return) = channel::<()>();
        let (entered, may_return) = (Mutex::new(entered), Mutex::new(may_return));
        let wait: Method<u8, u8> = Method::new("wait", "waited");
        let mut registry = Registry::new();
        let handler = move |number, _ctx: &_| {
            let entered = entered.lock().unwrap_or_else(PoisonError::into_inner);
            entered.send(()).unwrap();
            let may_return = may_return.lock().unwrap_or_else(PoisonError::into_inner);
            may_return.recv().unwrap();
            Ok(number)
        };
        registry.register(wait, handler).unwrap();
        let acceptor = Acceptor::bind(&address).unwrap();
        let server = Server::start(acceptor, Service::new(registry));
        let mut peer = server.peer();
        let request = |number| frame(format!(r#"{{"in":"wait","params":{number}}}"#));
        peer.send(&[request(1), request(2)].concat());
        in_handler.recv().unwrap();
        // This one is in the socket's queue, not in the server's buffer.
        peer.send(&request(3));
        server.shutdown.stop();
        for _ in 0..3 {
            release.send(()).unwrap();
        }
        for number in 1..=3 {
            assert_eq!(peer.reply(), ("waited".to_owned(), number.into()));
        }
        check_reads_the_stop(&mut peer);
        server.join();
    }
}

#[test]
fn one_acceptor_stops_without_the_other() {
    let (first, second) = (Server::ping_at(&any_port()), Server::ping_at(&any_port()));
    let (mut stopped, mut served) = (first.peer(), second.peer());
    stopped.ping();
    served.ping();
    first.shutdown.stop();
    check_reads_the_stop(&mut stopped);
    first.join();
    served.ping();
    drop(served);
    second.stop();
}
