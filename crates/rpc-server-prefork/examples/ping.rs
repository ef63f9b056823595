//! Answers `ping`, with worker processes that are forked in advance.
//!
//! `cargo run --package rpc-server-prefork --example ping-prefork -- 127.0.0.1:8080` listens on
//! that address; without an address the kernel chooses a port.
//! SIGTERM and SIGINT (Ctrl-C) stop it.

use std::env;
use std::error::Error;
use std::io::{self, Write};

use rpc_server_prefork::{Acceptor, Method, Registry, Service, serve};

const PING: Method<String, String> = Method::new("ping", "pong");

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:0".into());

    let mut registry = Registry::new();
    registry.register(PING, |text, _ctx| Ok(text))?;
    let service = Service::new(registry);

    let acceptor = Acceptor::bind(&address.parse()?)?.stop_on_signals()?;
    writeln!(io::stdout(), "listening on {}", acceptor.address())?;
    serve(acceptor, &service)?;
    Ok(())
}
