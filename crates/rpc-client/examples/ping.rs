//! Calls `ping` once.
//!
//! `cargo run --package rpc-client --example ping-client -- 127.0.0.1:8080` calls a server there,
//! such as the example of any `rpc-server-*` crate.

use std::env;
use std::error::Error;
use std::io::{self, Write};

use rpc_client::{Client, Method};

const PING: Method<String, String> = Method::new("ping", "pong");

fn main() -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or("127.0.0.1:8080".into());

    let mut client = Client::connect(&address.parse()?)?;
    let answer = client.call(PING, &"ireader 0".to_owned())?;
    writeln!(io::stdout(), "{answer}")?;
    Ok(())
}
