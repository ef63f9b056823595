//! Clients that go away in the middle of something: nobody dies of it.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use nix::sys::signal::Signal;
use nix::sys::socket::{setsockopt, sockopt};
use rpc_proto::{FrameWriter, Request};
use serde_json::{Value, json};
use xtask::model::Model;
use xtask::proc;

use super::{Caller, children, port, promises, serve, stop_cleanly};

promises! {
    a_client_that_is_gone_before_its_reply_kills_nobody:
        single thread fork prefork prefork_thread;
}

/// Writing to a socket whose peer is gone raises SIGPIPE, which ends a process by default.
fn a_client_that_is_gone_before_its_reply_kills_nobody(model: Model) {
    let mut server = serve(model, &["--workers", "1"]);
    let workers = match model {
        Model::Prefork | Model::PreforkThread => children(&server, 1),
        _ => Vec::new(),
    };
    let departures: [fn(TcpStream); 3] = [
        drop,
        // A reset instead of an end.
        |stream| {
            let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(&stream, sockopt::Linger, &at_once).expect("a socket");
        },
        |stream| stream.shutdown(Shutdown::Both).expect("a connected socket"),
    ];
    for depart in departures {
        let mut stream = TcpStream::connect(port(&server)).expect("the server listens");
        let mut requests = FrameWriter::new();
        // Two replies that are longer than what is kept back: two writes, the first of which
        // finds out that the peer is gone.
        let long = json!("x".repeat(100_000));
        for (method, params) in [("sleep", &json!(50)), ("ping", &long), ("ping", &long)] {
            let encoded = requests.append(|body| Request::encode(body, method, params));
            encoded.expect("a short request");
        }
        stream.write_all(requests.as_bytes()).expect("it reads");
        depart(stream);
        Caller::connect(&server).ping();
    }
    if !workers.is_empty() {
        assert_eq!(proc::children(server.pid()), workers, "workers died");
    }
    let mut last = Caller::served(&server);
    last.send("ping", Value::Null);
    assert_eq!(last.receive(), Some(("pong".to_owned(), Value::Null)));
    stop_cleanly(&mut server, Signal::SIGTERM);
}
