use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::sync::Mutex;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use rpc_core::{
    Context, Credentials, ErrorCode, Method, Peer as RemotePeer, Registry, Server, Service,
};

use crate::server::{Directory, Peer, frame, ping_service};

const HANG: Method<(), ()> = Method::new("hang", "hung");

/// Serves `ours` in a thread until the peer closes it.
fn serve(server: &Server, service: &Service, ours: impl Into<OwnedFd>) -> thread::JoinHandle<()> {
    let conn = server.connection(ours).unwrap();
    let service = service.clone();
    thread::spawn(move || service.serve_conn(conn))
}

/// A service whose method `hang` returns when it is told to.
fn hanging_service() -> (Sender<()>, Service) {
    let (release, may_return) = mpsc::channel::<()>();
    let may_return = Mutex::new(may_return);
    let mut registry = Registry::new();
    let hang = move |(), _ctx: &Context| {
        let _ = may_return.lock().unwrap().recv();
        Ok(())
    };
    registry.register(HANG, hang).unwrap();
    (release, Service::new(registry))
}

#[test]
fn one_end_of_a_pair_is_served() {
    let server = Server::new().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    // A socket that is served must be blocking, so the server has to change this one.
    ours.set_nonblocking(true).unwrap();
    let serving = serve(&server, &ping_service(), ours);
    let mut peer = Peer::new(theirs);
    for _ in 0..3 {
        peer.ping();
    }
    drop(peer);
    serving.join().unwrap();
}

#[test]
fn a_tcp_connection_that_was_accepted_elsewhere_is_served() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (ours, address) = listener.accept().unwrap();
    let server = Server::new().unwrap();
    let conn = server.connection(ours).unwrap();
    assert_eq!(conn.peer(), RemotePeer::Tcp(address));
    let serving = thread::spawn(move || ping_service().serve_conn(conn));
    let mut peer = Peer::new(theirs);
    peer.ping();
    drop(peer);
    serving.join().unwrap();
}

#[test]
fn the_peer_of_a_pair_is_known() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let conn = Server::new().unwrap().connection(ours).unwrap();
    let RemotePeer::Unix(credentials) = conn.peer() else {
        panic!("{}", conn.peer());
    };
    assert_eq!(credentials.pid as u32, std::process::id());
}

#[test]
fn a_stop_ends_idle_connections() {
    let server = Server::new().unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let serving = serve(&server, &ping_service(), ours);
    let mut peer = Peer::new(theirs);
    peer.ping();
    server.shutdown().stop();
    assert_eq!(peer.refusal().known_code(), Some(ErrorCode::ShuttingDown));
    peer.expect_end();
    serving.join().unwrap();
}

#[test]
fn limits_and_deadlines_are_in_force() {
    let (release, service) = hanging_service();
    let service = service.max_frame_len(100).default_deadline(Duration::from_millis(30));
    let server = Server::new().unwrap();

    let (ours, theirs) = UnixStream::pair().unwrap();
    let serving = serve(&server, &service, ours);
    let mut peer = Peer::new(theirs);
    peer.send(&frame(r#"{"in":"hang"}"#));
    assert_eq!(peer.refusal().known_code(), Some(ErrorCode::DeadlineExceeded));
    release.send(()).unwrap();
    serving.join().unwrap();

    let (ours, theirs) = UnixStream::pair().unwrap();
    let serving = serve(&server, &service, ours);
    let mut peer = Peer::new(theirs);
    peer.send(&frame("x".repeat(101)));
    assert_eq!(peer.refusal().known_code(), Some(ErrorCode::FrameTooLarge));
    drop(peer);
    serving.join().unwrap();
}

#[test]
fn deadlines_are_in_force_however_many_servers_were_dropped_before_their_connections() {
    let (release, service) = hanging_service();
    let service = service.default_deadline(Duration::from_millis(1));
    for _ in 0..70 {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let serving = serve(&Server::new().unwrap(), &service, ours);
        let mut peer = Peer::new(theirs);
        peer.send(&frame(r#"{"in":"hang"}"#));
        assert_eq!(peer.refusal().known_code(), Some(ErrorCode::DeadlineExceeded));
        release.send(()).unwrap();
        drop(peer);
        serving.join().unwrap();
    }
}

#[test]
fn only_connected_stream_sockets_are_served() {
    let directory = Directory::new();
    let server = Server::new().unwrap();
    let refused = |socket: OwnedFd| server.connection(socket).unwrap_err();
    let (datagrams, _) = UnixDatagram::pair().unwrap();
    let cases: [(&str, OwnedFd, io::ErrorKind); 5] = [
        ("datagrams", datagrams.into(), io::ErrorKind::InvalidInput),
        ("UDP", UdpSocket::bind("127.0.0.1:0").unwrap().into(), io::ErrorKind::InvalidInput),
        ("TCP", TcpListener::bind("127.0.0.1:0").unwrap().into(), io::ErrorKind::NotConnected),
        (
            "Unix",
            UnixListener::bind(directory.path("socket")).unwrap().into(),
            io::ErrorKind::NotConnected,
        ),
        (
            "a file",
            std::fs::File::open("/dev/null").unwrap().into(),
            io::Error::from_raw_os_error(nix::libc::ENOTSOCK).kind(),
        ),
    ];
    for (what, socket, kind) in cases {
        assert_eq!(refused(socket).kind(), kind, "{what}");
    }
}

#[test]
fn a_context_can_be_made_for_a_handler_that_is_tested_alone() {
    let handler = |(), ctx: &Context| ctx.remaining().is_some_and(|left| !left.is_zero());
    let address = "192.0.2.1:9".parse().unwrap();
    let context = Context::new(RemotePeer::Tcp(address));
    assert!(!handler((), &context));
    assert!(handler((), &context.with_deadline(Duration::from_secs(60))));

    let peer_is_root =
        |(), ctx: &Context| matches!(ctx.peer(), RemotePeer::Unix(Credentials { uid: 0, .. }));
    let peer = RemotePeer::Unix(Credentials { pid: 1, uid: 0, gid: 0 });
    assert!(peer_is_root((), &Context::new(peer)));
}

#[test]
fn the_socket_is_made_blocking() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let copy = ours.try_clone().unwrap();
    let _conn = Server::new().unwrap().connection(ours).unwrap();
    let flags = OFlag::from_bits_truncate(fcntl(&copy, FcntlArg::F_GETFL).unwrap());
    assert!(!flags.contains(OFlag::O_NONBLOCK), "{flags:?}");
}
