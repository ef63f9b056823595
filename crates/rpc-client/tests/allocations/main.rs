//! What a call allocates on the caller's thread, once the buffers have their final size.
//!
//! A separate program, because counting replaces the allocator of the whole program. Each thread
//! has its own count, so the server's allocations do not matter.

use std::borrow::Cow;
use std::fmt::Debug;
use std::thread;

use rpc_client::Client;
use rpc_core::{Acceptor, Method, Registry, Service};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Calls a method that returns its params, `value`.
#[track_caller]
fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, expected_per_call: u64) {
    const CALLS: u64 = 200;
    const ECHO: &str = "echo";
    let mut registry = Registry::new();
    registry.register_raw(ECHO, ECHO, |params, _ctx| Ok(Cow::Borrowed(params))).unwrap();
    let mut acceptor = Acceptor::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let method: Method<T, T> = Method::new(ECHO, ECHO);
    let mut client = Client::connect(acceptor.address()).unwrap();
    let server = thread::spawn(move || {
        let conn = acceptor.accept().unwrap().unwrap();
        Service::new(registry).serve_conn(conn);
    });
    let mut allocations = |calls| {
        let mut call = || assert_eq!(client.call(method, value).unwrap(), *value);
        let counted = allocation_counter::measure(|| (0..calls).for_each(|_| call()));
        counted.count_total
    };
    // The first call brings the buffers to their final size.
    allocations(1);
    assert_eq!(allocations(CALLS), expected_per_call * CALLS);
    assert_eq!(allocations(2 * CALLS), expected_per_call * 2 * CALLS);
    drop(client);
    server.join().unwrap();
}

#[test]
fn a_call_that_needs_no_memory_allocates_nothing() {
    check(&123_456_789_u64, 0);
}

#[test]
fn a_call_allocates_only_the_string_that_it_returns() {
    check(&"123456789".to_owned(), 1);
}
