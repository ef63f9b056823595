//! The project's client as a process of its own, so that its system calls can be counted.

use std::net::SocketAddr;

use crate::drivers::driver::OwnClient;
use crate::exchange::text;

/// The options of `client`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Where a server offers echo
    address: SocketAddr,
    /// How many calls to make on one connection
    calls: usize,
    /// Characters in the text of a request
    #[arg(long, value_name = "N", default_value_t = 9)]
    payload: usize,
}

/// Makes the calls.
///
/// # Errors
///
/// When one fails.
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    let mut client = OwnClient::connect(options.address, text(options.payload))?;
    for _ in 0..options.calls {
        client.call()?;
    }
    Ok(())
}
