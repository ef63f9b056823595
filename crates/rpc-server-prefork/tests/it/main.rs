//! What this model promises beyond the contract that all models share.

use std::error::Error;
use std::sync::mpsc;
use std::thread;

use rpc_server_prefork::{Acceptor, Registry, ServeError, Service, serve};

/// A fork copies the memory of all threads but only one thread, so a lock that another thread held
/// would stay locked in the child.
#[test]
fn a_program_with_threads_is_refused_at_once() {
    let acceptor = Acceptor::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let (end, until_the_end) = mpsc::channel::<()>();
    let other_thread = thread::spawn(move || until_the_end.recv());

    let error = serve(acceptor, &Service::new(Registry::new())).unwrap_err();

    assert!(matches!(error, ServeError::Model(_)), "{error:?}");
    let reason = error.source().expect("the reason").to_string();
    assert!(reason.starts_with("refusing to fork"), "{reason}");
    drop(end);
    other_thread.join().unwrap().unwrap_err();
}
