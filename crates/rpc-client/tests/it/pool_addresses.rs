use std::error::Error as _;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use rpc_client::{Address, CallError, Client, Executed, Method, Pool};

use crate::peer::{TestServer, frame, read_request, unused_path};

const PING: Method<String, String> = Method::new("ping", "pong");
const PONG: &str = r#"{"out":"pong","result":"x"}"#;

/// An address that refuses until it is dropped: the local port of a connection belongs to it, so
/// nothing can listen there.
struct Refusing {
    address: Address,
    _connection: (TcpListener, TcpStream),
}

impl Refusing {
    fn new() -> Refusing {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let address = Address::from(connection.local_addr().unwrap());
        Refusing { address, _connection: (listener, connection) }
    }
}

fn check_refused(error: &CallError) {
    let source = error.source().and_then(|source| source.downcast_ref::<std::io::Error>());
    assert_eq!(source.map(std::io::Error::kind), Some(ErrorKind::ConnectionRefused), "{error:?}");
    assert_eq!(error.executed(), Executed::No);
}

#[test]
fn an_address_that_refuses_fails_no_call_while_another_works() {
    let (refusing, server) = (Refusing::new(), TestServer::start());
    // No connection is used twice, so every call picks an address.
    let client = Client::builder().idle_timeout(Duration::ZERO);
    let addresses = [refusing.address.clone(), server.address.clone()];
    let pool = Pool::builder().client(client).build(addresses);
    for _ in 0..20 {
        thread::scope(|scope| {
            let caller = scope.spawn(|| pool.call(PING, &"x".to_owned()));
            let mut stream = server.accept();
            read_request(&mut stream);
            stream.write_all(&frame(PONG)).unwrap();
            assert_eq!(caller.join().unwrap().unwrap(), "x");
        });
    }
}

#[test]
fn an_address_that_is_busy_fails_no_call_while_another_works() {
    const BUSY: &str = r#"{"out":"error","result":{"code":-32000,"message":"busy"}}"#;
    let (busy, server) = (TestServer::start(), TestServer::start());
    let pool = Pool::builder().build([busy.address.clone(), server.address.clone()]);
    thread::scope(|scope| {
        // Both addresses are used: the second has fewer connections.
        let callers: Vec<_> =
            (0..2).map(|_| scope.spawn(|| pool.call(PING, &"x".to_owned()))).collect();
        let mut first = server.accept();
        busy.accept().write_all(&frame(BUSY)).unwrap();
        // The refused call is retried, over the same connection or another.
        let other = scope.spawn(|| {
            let mut stream = server.accept();
            read_request(&mut stream);
            stream.write_all(&frame(PONG)).unwrap();
        });
        other.join().unwrap();
        read_request(&mut first);
        first.write_all(&frame(PONG)).unwrap();
        for caller in callers {
            assert_eq!(caller.join().unwrap().unwrap(), "x");
        }
    });
}

#[test]
fn a_server_that_is_gone_is_reported_before_the_time_is_over() {
    let refusing = Refusing::new();
    let pool = Pool::builder().build([refusing.address.clone()]);
    let begun = Instant::now();
    for _ in 0..2 {
        check_refused(&pool.call(PING, &"x".to_owned()).unwrap_err());
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "the call has 30 s");
}

#[test]
fn a_call_without_time_for_the_next_attempt_fails_at_once_with_the_last_error() {
    let refusing = Refusing::new();
    let pool = Pool::builder().max_attempts(1).build([refusing.address.clone()]);
    check_refused(&pool.call(PING, &"x".to_owned()).unwrap_err());
    let short = Duration::from_millis(5);
    let begun = Instant::now();
    let error = pool.call_within(short, PING, &"x".to_owned()).unwrap_err();
    let connects_again = begun.elapsed() >= short;
    check_refused(&error);
    let cause = error.source().unwrap().to_string();
    assert!(connects_again || cause.ends_with("(another call's attempt)"), "{cause}");
}

#[test]
fn all_attempts_together_stay_within_the_time_of_the_call() {
    let refusing = Refusing::new();
    let pool = Pool::builder().max_attempts(1_000_000).build([refusing.address.clone()]);
    let limit = Duration::from_millis(300);
    let begun = Instant::now();
    check_refused(&pool.call_within(limit, PING, &"x".to_owned()).unwrap_err());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// Serves one request per connection, until one closes without a request.
fn serve(listener: UnixListener) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut prefix = [0; 4];
        if stream.read(&mut prefix[..1]).unwrap() == 0 {
            return;
        }
        stream.read_exact(&mut prefix[1..]).unwrap();
        stream.read_exact(&mut vec![0; u32::from_le_bytes(prefix) as usize]).unwrap();
        stream.write_all(&frame(PONG)).unwrap();
    }
}

#[test]
fn all_waiting_calls_reach_a_server_that_restarts() {
    let path = unused_path();
    let client = Client::builder().idle_timeout(Duration::ZERO);
    let pool = Pool::builder().client(client).max_attempts(1_000);
    let pool = pool.build([Address::unix(&path)]);
    let text = "x".to_owned();
    for _ in 0..3 {
        thread::scope(|scope| {
            let callers: Vec<_> = (0..4).map(|_| scope.spawn(|| pool.call(PING, &text))).collect();
            let failed = pool.call_within(Duration::from_millis(20), PING, &text);
            assert_eq!(failed.unwrap_err().executed(), Executed::No);
            let listener = UnixListener::bind(&path).unwrap();
            let server = scope.spawn(move || serve(listener));
            for caller in callers {
                assert_eq!(caller.join().unwrap().unwrap(), "x");
            }
            drop(UnixStream::connect(&path).unwrap());
            server.join().unwrap();
            fs::remove_file(&path).unwrap();
        });
    }
}
