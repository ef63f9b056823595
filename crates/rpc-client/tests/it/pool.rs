use std::collections::HashSet;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rpc_client::{CallError, Client, Executed, Method, Pool, PoolBuilder};
use rpc_core::{Acceptor, Registry, Service};
use serde::{Serialize, Serializer};

use crate::peer::{Peer, TestServer, expect_end, frame, read_request};

const PING: Method<String, String> = Method::new("ping", "pong");
const PONG: &str = r#"{"out":"pong","result":"x"}"#;

/// Calls through the pool while `serve` plays the server.
fn call<T>(pool: &Pool, serve: impl FnOnce() -> T) -> (Result<String, CallError>, T) {
    thread::scope(|scope| {
        let caller = scope.spawn(|| pool.call(PING, &"x".to_owned()));
        let served = serve();
        (caller.join().unwrap(), served)
    })
}

fn answer(stream: &mut TcpStream) {
    read_request(stream);
    stream.write_all(&frame(PONG)).unwrap();
}

/// A call that succeeds over a connection of its own, which is left open.
fn call_over_new_connection(pool: &Pool, server: &TestServer) -> TcpStream {
    let (result, stream) = call(pool, || {
        let mut stream = server.accept();
        answer(&mut stream);
        stream
    });
    assert_eq!(result.unwrap(), "x");
    server.expect_no_connection();
    stream
}

fn one_connection() -> PoolBuilder {
    Pool::builder().max_connections(1)
}

#[test]
fn a_connection_is_used_again() {
    let server = TestServer::start();
    let pool = Pool::builder().build([server.address.clone()]);
    let mut stream = call_over_new_connection(&pool, &server);
    for _ in 0..3 {
        let (result, ()) = call(&pool, || answer(&mut stream));
        assert_eq!(result.unwrap(), "x");
    }
    server.expect_no_connection();
    drop(pool);
    expect_end(&mut stream);
}

#[test]
fn threads_share_no_more_connections_than_the_limit() {
    const CONNECTIONS: usize = 3;
    let peers = Arc::new(Mutex::new(HashSet::new()));
    let seen = Arc::clone(&peers);
    let mut registry = Registry::new();
    registry
        .register(PING, move |text, context| {
            seen.lock().unwrap().insert(context.peer().to_string());
            Ok(text)
        })
        .unwrap();
    let service = Service::new(registry);
    let mut acceptor = Acceptor::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let pool = Pool::builder().max_connections(CONNECTIONS).build([acceptor.address().clone()]);
    thread::spawn(move || {
        while let Some(conn) = acceptor.accept().unwrap() {
            let service = service.clone();
            thread::spawn(move || service.serve_conn(conn));
        }
    });
    thread::scope(|scope| {
        for thread in 0..12 {
            let pool = &pool;
            scope.spawn(move || {
                for number in 0..50 {
                    let text = format!("{thread} {number}");
                    assert_eq!(pool.call(PING, &text).unwrap(), text);
                }
            });
        }
    });
    assert!((1..=CONNECTIONS).contains(&peers.lock().unwrap().len()), "{peers:?}");
}

#[test]
fn waiting_for_a_free_connection_ends_with_the_call() {
    let server = TestServer::start();
    let pool = one_connection().build([server.address.clone()]);
    let limit = Duration::from_millis(30);
    let (result, ()) = call(&pool, || {
        let mut stream = server.accept();
        read_request(&mut stream);
        let begun = Instant::now();
        let error = pool.call_within(limit, PING, &"x".to_owned()).unwrap_err();
        assert!(begun.elapsed() >= limit);
        assert!(
            matches!(error, CallError::Exhausted { max_connections: 1, limit: at } if at == limit),
            "{error:?}"
        );
        assert_eq!(error.executed(), Executed::No);
        stream.write_all(&frame(PONG)).unwrap();
    });
    assert_eq!(result.unwrap(), "x");
}

#[test]
fn a_waiting_call_gets_the_connection_that_is_returned() {
    let server = TestServer::start();
    let pool = one_connection().build([server.address.clone()]);
    let mut stream = call_over_new_connection(&pool, &server);
    thread::scope(|scope| {
        let callers: Vec<_> =
            (0..4).map(|_| scope.spawn(|| pool.call(PING, &"x".to_owned()))).collect();
        (0..4).for_each(|_| answer(&mut stream));
        for caller in callers {
            assert_eq!(caller.join().unwrap().unwrap(), "x");
        }
    });
    server.expect_no_connection();
}

#[test]
fn a_waiting_call_may_replace_a_connection_that_broke() {
    let server = TestServer::start();
    let pool = one_connection().build([server.address.clone()]);
    let mut stream = call_over_new_connection(&pool, &server);
    thread::scope(|scope| {
        let callers: Vec<_> =
            (0..2).map(|_| scope.spawn(|| pool.call(PING, &"x".to_owned()))).collect();
        read_request(&mut stream);
        stream.shutdown(Shutdown::Both).unwrap();
        answer(&mut server.accept());
        let results: Vec<_> = callers.into_iter().map(|caller| caller.join().unwrap()).collect();
        let closed = |result: &&_| matches!(result, Err(CallError::Closed(_)));
        assert_eq!(results.iter().filter(closed).count(), 1, "{results:?}");
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    });
}

/// After `happens` to an idle connection, the next call uses another.
fn check_not_used_again(happens: impl FnOnce(&mut TcpStream)) {
    let server = TestServer::start();
    let pool = one_connection().build([server.address.clone()]);
    let mut stream = call_over_new_connection(&pool, &server);
    happens(&mut stream);
    call_over_new_connection(&pool, &server);
}

#[test]
fn a_connection_that_was_closed_while_idle_is_not_used_again() {
    check_not_used_again(|stream| stream.shutdown(Shutdown::Both).unwrap());
    check_not_used_again(|stream| stream.shutdown(Shutdown::Write).unwrap());
}

#[test]
fn an_unsolicited_reply_is_never_taken_for_the_next_one() {
    let wrong = r#"{"out":"pong","result":"another call's"}"#;
    check_not_used_again(|stream| stream.write_all(&frame(wrong)).unwrap());
    check_not_used_again(|stream| stream.write_all(&[1]).unwrap());
}

#[test]
fn a_closing_error_on_an_idle_connection_is_not_the_answer_to_the_next_call() {
    for code in [-32000, -32002, -32005] {
        check_not_used_again(|stream| {
            let error = format!(r#"{{"code":{code},"message":"m"}}"#);
            let closing_error = frame(format!(r#"{{"out":"error","result":{error}}}"#));
            stream.write_all(&closing_error).unwrap();
        });
    }
}

#[test]
fn a_connection_that_was_idle_for_too_long_is_closed() {
    let idle = Duration::from_millis(20);
    let server = TestServer::start();
    let client = Client::builder().idle_timeout(idle);
    let pool = Pool::builder().client(client).max_attempts(1).build([server.address.clone()]);
    let mut old = call_over_new_connection(&pool, &server);
    let since = Instant::now();
    while since.elapsed() <= idle {
        thread::yield_now();
    }
    call_over_new_connection(&pool, &server);
    expect_end(&mut old);
}

#[test]
fn a_connection_that_timed_out_is_not_used_again() {
    let server = TestServer::start();
    let client = Client::builder().call_timeout(Duration::from_millis(30));
    let pool = one_connection().client(client).build([server.address.clone()]);
    let (result, mut late) = call(&pool, || {
        let mut stream = server.accept();
        read_request(&mut stream);
        expect_end(&mut stream);
        stream
    });
    let error = result.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { .. }), "{error:?}");
    assert_eq!(error.executed(), Executed::Maybe);
    let _ = late.write_all(&frame(PONG));
    // The address is avoided for longer than the pool's call time-out.
    let begun = Instant::now();
    let next = thread::scope(|scope| {
        let caller =
            scope.spawn(|| pool.call_within(Duration::from_secs(20), PING, &"x".to_owned()));
        answer(&mut server.accept());
        caller.join().unwrap()
    });
    assert_eq!(next.unwrap(), "x");
    assert!(begun.elapsed() < Duration::from_secs(19));
}

#[test]
fn an_error_names_the_time_out_of_the_call() {
    let peer = Peer::tcp(|stream| {
        read_request(stream);
        expect_end(stream);
    });
    let pool = Pool::builder().build([peer.address.clone()]);
    let limit = Duration::from_millis(30);
    let error = pool.call_within(limit, PING, &"x".to_owned()).unwrap_err();
    assert!(matches!(error, CallError::TimedOut { limit: at, .. } if at == limit), "{error:?}");
    peer.join();
}

#[test]
fn a_caller_that_panics_returns_its_connection() {
    struct Panics;
    impl Serialize for Panics {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            std::panic::resume_unwind(Box::new("no message on standard error"))
        }
    }
    let server = TestServer::start();
    let pool = one_connection().build([server.address.clone()]);
    let mut stream = call_over_new_connection(&pool, &server);
    let panics = AssertUnwindSafe(|| pool.call_raw("m", &Panics));
    assert!(catch_unwind(panics).is_err());
    let (result, ()) = call(&pool, || answer(&mut stream));
    assert_eq!(result.unwrap(), "x");
}

#[test]
fn a_pool_can_be_shared_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<Pool>();
}

#[test]
#[should_panic = "a pool needs an address"]
fn a_pool_without_addresses_is_a_mistake() {
    let _ = Pool::builder().build([]);
}
