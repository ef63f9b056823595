//! The same promises over Unix sockets and IPv6.

use std::net::TcpListener;

use rpc_client::{Address, Client, ErrorCode};
use xtask::model::Model;

use crate::raw::{Raw, frame, pong, request};
use crate::server::{Directory, start_at};

over_every_model! {
    a_unix_socket_speaks_the_same_wire,
    an_ipv6_address_is_served,
}

fn a_unix_socket_speaks_the_same_wire(model: Model) {
    let directory = Directory::new();
    let path = directory.socket();
    let address = Address::unix(&path);
    let arguments = ["--max-frame-len", "100"];
    let server = start_at(&address.to_string(), model, &arguments);
    assert_eq!(*server.address(), address);

    let mut client = Raw::connect_unix(&path);
    client.send(&request("ping", "1").repeat(100));
    client.expect(&pong("1").repeat(100));
    client.send(&frame("not JSON"));
    client.expect_error(ErrorCode::ParseError);
    client.send(&frame("x".repeat(30_000)));
    client.expect_error(ErrorCode::FrameTooLarge);
    client.expect_end();

    let mut client = Client::connect(&address).unwrap();
    let reply = client.call_raw("ping", "ireader 0").unwrap();
    assert_eq!((&*reply.kind, reply.result.get()), ("pong", "\"ireader 0\""));
}

fn an_ipv6_address_is_served(model: Model) {
    // A machine without IPv6 cannot keep this promise and need not.
    if TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let server = start_at("[::1]:0", model, &[]);
    assert!(server.address().to_string().starts_with("[::1]:"));
    Raw::connect(&server).expect_service();
    let reply = server.connect().unwrap().call_raw("ping", "ireader 0");
    assert_eq!(reply.unwrap().result.get(), "\"ireader 0\"");
}
