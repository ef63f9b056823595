//! Prints the bytes of a request, in hexadecimal: four of length, then the JSON.

use std::error::Error;
use std::io::{self, Write};

use rpc_proto::{FrameWriter, Request};

fn main() -> Result<(), Box<dyn Error>> {
    let mut frames = FrameWriter::new();
    frames.append(|body| Request::encode(body, "ping", "ireader 0"))?;

    let mut out = io::stdout();
    for byte in frames.as_bytes() {
        write!(out, "{byte:02x}")?;
    }
    writeln!(out)?;
    Ok(())
}
