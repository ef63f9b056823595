use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rpc_core::{Acceptor, ErrorCode, Method, RegisterError, Registry, Service};

use crate::server::{PING, Peer, Server, any_port, frame};

const NO_TIME: Duration = Duration::from_millis(30);
const ENOUGH: Duration = Duration::from_secs(3600);

/// Returns how many seconds are left until its deadline, if it has one.
const LEFT: Method<(), Option<u64>> = Method::new("left", "seconds");

/// Returns when the test releases it.
const WAIT: Method<(), ()> = Method::new("wait", "waited");

fn registry() -> (Registry, std::sync::mpsc::Sender<()>) {
    let mut registry = Registry::new();
    registry.register(PING, |text, _ctx| Ok(text)).unwrap();
    let left = |(), ctx: &rpc_core::Context| {
        let now = Instant::now();
        let until_deadline = ctx.deadline().map(|deadline| deadline - now);
        assert!(ctx.remaining() <= until_deadline, "time goes on");
        Ok(ctx.remaining().map(|left| left.as_secs()))
    };
    registry.register(LEFT, left).unwrap();
    let (release, may_return) = channel();
    let may_return: Mutex<Receiver<()>> = Mutex::new(may_return);
    let wait = move |(), _ctx: &_| {
        may_return.lock().unwrap().recv().unwrap();
        Ok(())
    };
    registry.register(WAIT, wait).unwrap();
    (registry, release)
}

fn start(service: Service) -> Server {
    Server::start(Acceptor::bind(&any_port()).unwrap(), service)
}

fn expect_left(peer: &mut Peer, timeout: &str, expected: Option<Duration>) {
    peer.send(&frame(format!(r#"{{"in":"left"{timeout}}}"#)));
    let (kind, left) = peer.reply();
    assert_eq!(kind, "seconds", "{left}");
    match expected {
        None => assert!(left.is_null(), "{left}"),
        Some(limit) => {
            let left = left.as_u64().unwrap();
            assert!(limit.as_secs() - 60 <= left && left <= limit.as_secs(), "{left} of {limit:?}");
        }
    }
}

/// Which of the four deadlines counts: the request's, the method's, the service's or the maximum.
#[test]
fn the_nearest_to_the_call_decides_and_the_maximum_bounds_it() {
    let hour = Duration::from_secs(3600);
    let (asks_none, asks_ten_hours) = ("", r#","timeout_ms":36000000"#);
    for (method, default, max, timeout, expected) in [
        (None, None, None, asks_none, None),
        (None, None, None, asks_ten_hours, Some(10 * hour)),
        (None, None, Some(3 * hour), asks_none, Some(3 * hour)),
        (None, None, Some(3 * hour), asks_ten_hours, Some(3 * hour)),
        (None, Some(2 * hour), None, asks_none, Some(2 * hour)),
        (None, Some(2 * hour), None, asks_ten_hours, Some(10 * hour)),
        (Some(hour), Some(2 * hour), None, asks_none, Some(hour)),
        (Some(4 * hour), Some(2 * hour), None, asks_none, Some(4 * hour)),
        (Some(4 * hour), Some(2 * hour), Some(3 * hour), asks_none, Some(3 * hour)),
        (Some(hour), Some(2 * hour), None, asks_ten_hours, Some(hour)),
        (Some(20 * hour), None, None, asks_ten_hours, Some(10 * hour)),
        (Some(Duration::MAX), None, Some(hour), asks_none, Some(hour)),
    ] {
        let (mut registry, _release) = registry();
        if let Some(deadline) = method {
            registry.set_deadline("left", deadline).unwrap();
        }
        let mut service = Service::new(registry);
        if let Some(deadline) = default {
            service = service.default_deadline(deadline);
        }
        if let Some(deadline) = max {
            service = service.max_deadline(deadline);
        }
        let server = start(service);
        let mut peer = server.peer();
        expect_left(&mut peer, timeout, expected);
        let bound = [method, max, Some(10 * hour)].into_iter().flatten().min();
        // The deadline of one call does not affect the next one.
        expect_left(&mut peer, r#","timeout_ms":36000000"#, bound);
        expect_left(&mut peer, timeout, expected);
        drop(peer);
        server.stop();
    }
}

#[test]
fn only_a_method_that_is_there_gets_a_deadline() {
    let (mut registry, _release) = registry();
    let unknown = registry.set_deadline("nothing", ENOUGH);
    assert_eq!(unknown, Err(RegisterError::Unknown("nothing".to_owned())));
}

/// Two servers in one process, without stop signals, use one timer.
#[test]
fn late_calls_of_every_acceptor_are_answered() {
    let (first_registry, release_first) = registry();
    let (second_registry, release_second) = registry();
    let first = start(Service::new(first_registry).default_deadline(ENOUGH));
    let second = start(Service::new(second_registry).default_deadline(NO_TIME));
    let (mut of_first, mut of_second) = (first.peer(), second.peer());
    of_first.send(&frame(r#"{"in":"wait"}"#));
    of_second.send(&frame(r#"{"in":"wait"}"#));
    let refusal = of_second.refusal();
    assert_eq!(refusal.known_code(), Some(ErrorCode::DeadlineExceeded), "{refusal}");
    let data = refusal.data.as_deref().map(|data| data.get());
    assert_eq!(data, Some(r#"{"executed":"maybe","limit_ms":30}"#));
    of_second.expect_end();

    // The call that has time left is not affected, and the lost thread serves again once its
    // handler has returned.
    release_second.send(()).unwrap();
    second.peer().ping();
    release_first.send(()).unwrap();
    assert_eq!(of_first.reply().0, "waited");
    drop(of_first);
    first.stop();
    second.stop();
}

/// A request that comes behind a late call is not executed when the handler has returned.
#[test]
fn nothing_is_executed_behind_a_late_call() {
    let (registry, release) = registry();
    let server = start(Service::new(registry).default_deadline(NO_TIME));
    let mut peer = server.peer();
    let wait = frame(r#"{"in":"wait"}"#);
    peer.send(&[&wait[..], &wait].concat());
    assert_eq!(peer.refusal().known_code(), Some(ErrorCode::DeadlineExceeded));
    peer.expect_end();
    release.send(()).unwrap();
    // If the second request were executed, its handler would block the only thread.
    server.peer().ping();
    server.stop();
}
