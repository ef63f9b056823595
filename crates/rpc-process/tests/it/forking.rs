use std::error::Error;
use std::sync::mpsc::channel;
use std::thread;

use rpc_core::{Acceptor, Registry, ServeError, Service};
use rpc_process::{Children, ForkError};

#[test]
fn a_process_with_threads_is_not_forked_and_can_go_on_without() {
    let (end, ended) = channel::<()>();
    let another = thread::spawn(move || ended.recv().unwrap());
    let mut acceptor = Acceptor::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let error = Children::new(&acceptor).expect_err("the process has another thread");
    let ServeError::Model(source) = &error else {
        panic!("{error:?}");
    };
    let Some(ForkError::Threads { threads }) = source.downcast_ref() else {
        panic!("{error:?}");
    };
    assert!(*threads >= 2, "{threads}");
    let reason = error.source().expect("the reason").to_string();
    assert!(reason.starts_with("refusing to fork"), "{reason}");
    end.send(()).unwrap();
    another.join().unwrap();

    let address = acceptor.address().to_string();
    let peer = thread::spawn(move || drop(std::net::TcpStream::connect(address).unwrap()));
    let conn = acceptor.accept().unwrap().expect("the server does not stop");
    Service::new(Registry::new()).serve_conn(conn);
    peer.join().unwrap();
}
