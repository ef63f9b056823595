use std::sync::mpsc::channel;
use std::thread;

use rpc_core::{Acceptor, Children, ForkError, ServeError};

use crate::server::{Server, any_port, ping_service};

#[test]
fn a_process_with_threads_is_not_forked_and_can_go_on_without() {
    let (end, ended) = channel::<()>();
    let another = thread::spawn(move || ended.recv().unwrap());
    let acceptor = Acceptor::bind(&any_port()).unwrap();
    let Err(error) = Children::new(&acceptor) else {
        panic!("would fork beside another thread");
    };
    let ServeError::Fork(ForkError::Threads { threads }) = error else {
        panic!("{error:?}");
    };
    assert!(threads >= 2, "{threads}");
    end.send(()).unwrap();
    another.join().unwrap();
    let server = Server::start(acceptor, ping_service());
    server.peer().ping();
    server.stop();
}
