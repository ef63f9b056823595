//! A pool in a forked child makes its own connections.
//!
//! A separate program, because the test harness has threads, and a process with threads is not
//! forked.

use std::thread;

use rpc_client::Pool;
use rpc_core::{Acceptor, ExitReason, Method, Registry, Service};
use rpc_process::{Children, Event, Fork};

/// Which connection a call came over.
const WHO_AM_I: Method<(), String> = Method::new("who_am_i", "peer");

fn main() {
    let mut acceptor = Acceptor::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let pool = Pool::builder().build([acceptor.address().clone()]);
    let mut children = Children::new(&acceptor).unwrap();
    match children.fork().unwrap() {
        Fork::Parent(_) => {}
        Fork::Child(child) => {
            serve(&mut acceptor);
            child.exit(0)
        }
    }
    let who_am_i = || pool.call(WHO_AM_I, &()).unwrap();

    let in_parent = who_am_i();
    let caller = match children.fork().unwrap() {
        Fork::Parent(pid) => pid,
        Fork::Child(child) => {
            let in_child = who_am_i();
            let is_its_own = in_child != in_parent && in_child == who_am_i();
            child.exit(if is_its_own { 0 } else { 1 })
        }
    };
    let mut exits = Vec::new();
    while exits.is_empty() {
        let events = children.wait(None).unwrap().into_iter();
        exits.extend(events.filter_map(|event| match event {
            Event::Exited(exit) if exit.pid == caller => Some(exit.reason),
            _ => None,
        }));
    }
    assert_eq!(exits, [ExitReason::Clean]);
    assert_eq!(who_am_i(), in_parent, "the child closed its copy only");

    drop(pool);
    children.stop(acceptor).unwrap();
}

fn serve(acceptor: &mut Acceptor) {
    let mut registry = Registry::new();
    registry.register(WHO_AM_I, |(), context| Ok(context.peer().to_string())).unwrap();
    let service = Service::new(registry);
    while let Some(conn) = acceptor.accept().unwrap() {
        let service = service.clone();
        thread::spawn(move || service.serve_conn(conn));
    }
}
