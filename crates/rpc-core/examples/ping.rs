//! Answers `ping` with its own accept loop, where the `rpc-server-*` crates bring theirs.
//!
//! `cargo run --package rpc-core --example ping-core -- 127.0.0.1:8080` listens on that address;
//! default: 127.0.0.1 and a port that the kernel chooses.
//! SIGTERM and SIGINT (Ctrl-C) stop it.

use std::env;
use std::error::Error;
use std::io::{self, Write};

use rpc_core::{Acceptor, Method, Registry, Service};

const PING: Method<String, String> = Method::new("ping", "pong");

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:0".into());

    let mut registry = Registry::new();
    registry.register(PING, |text, _ctx| Ok(text))?;
    let service = Service::new(registry);

    let mut acceptor = Acceptor::bind(&address.parse()?)?.stop_on_signals()?;
    writeln!(io::stdout(), "listening on {}", acceptor.address())?;
    // A model is a loop that pulls connections. This one is the simplest.
    while let Some(conn) = acceptor.accept()? {
        service.serve_conn(conn);
    }
    Ok(())
}
