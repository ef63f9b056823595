//! `cargo xtask call ADDRESS METHOD [JSON]`: one call by hand.

use std::time::Duration;

use anyhow::Context as _;
use rpc_client::Client;
use rpc_proto::Address;
use serde_json::value::RawValue;

use crate::log;

/// The options of `call`.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// HOST:PORT or unix:PATH of the server
    addr: Address,
    /// The method, such as ping
    method: String,
    /// Its params as JSON
    #[arg(default_value = "null")]
    params: String,
    /// How long the call may take, such as 250ms or 3s
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
}

/// The shell takes the quotes away that JSON needs, which everybody trips over once.
fn not_json(params: &str) -> String {
    format!(
        "the params are not JSON: {params} \
         (a string needs quotes inside the shell's, '\"like this\"')"
    )
}

/// Calls and prints the reply: its kind and its result.
///
/// # Errors
///
/// When the params are not JSON, or the call fails.
pub fn run(options: Options) -> anyhow::Result<()> {
    let params: &RawValue =
        serde_json::from_str(&options.params).with_context(|| not_json(&options.params))?;
    let mut client = Client::builder().call_timeout(options.timeout).connect(&options.addr)?;
    let reply = client.call_raw(&options.method, params)?;
    log::say(&format!("{} {}", reply.kind, reply.result));
    Ok(())
}
