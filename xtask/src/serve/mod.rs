//! `cargo xtask serve MODEL`: one server in the foreground.
//!
//! Here belongs what a program does around a model: its methods, its socket, its user. The models
//! are started in `model`.

pub(crate) mod boot;
pub mod methods;
mod start;

use std::time::Duration;

use anyhow::Context as _;
use clap::builder::RangedU64ValueParser;
use rpc_core::{Address, Service};
use rpc_proto::MAX_FRAME_LEN;

use crate::log;
use crate::model::{Model, ModelOptions};
use start::StartOptions;

/// What a newcomer can call.
const METHODS: &str = "\
Methods:
  ping   echoes its params, which may be any JSON
  echo   echoes a string
  pi     comes closer to π the higher its params, such as 100000
  rpc.stats  tells what the server is doing; `cargo xtask top` shows it

Methods with --fault-methods:
  sleep     sleeps for so many milliseconds
  panic     panics
  abort     aborts its process
  raise     raises the signal of that number
  overflow  lets its stack overflow
  leak      opens a file and forgets it
  hold      connects to a Unix socket and waits for its end
  brood     starts a program that runs for ten minutes
  spin      never returns";

/// The options of `serve`.
#[derive(clap::Args, Debug)]
#[command(after_help = METHODS)]
pub struct Options {
    /// Which model serves
    #[arg(value_enum)]
    model: Model,
    /// Where to listen: HOST:PORT or unix:PATH; port 0 lets the kernel choose. A socket that was
    /// passed on by LISTEN_FDS is used instead
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    addr: Address,
    #[command(flatten)]
    start: StartOptions,
    #[command(flatten)]
    model_options: ModelOptions,
    /// The longest request body, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = MAX_FRAME_LEN, value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    max_frame_len: usize,
    /// How long a whole request may take to arrive once it began, such as 250ms or 3s
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    frame_timeout: Duration,
    /// How long a peer may take to accept a reply
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    write_timeout: Duration,
    /// How long a connection may be silent before its first request
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    first_request_timeout: Duration,
    /// How long a connection may be silent between two requests
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    idle_timeout: Duration,
    /// How long a call may take that does not say so itself [default: no bound]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    deadline: Option<Duration>,
    /// How long any call may take, whatever it says [default: no bound]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    max_deadline: Option<Duration>,
    /// How long requests in flight may take after SIGTERM or SIGINT
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    grace: Duration,
    /// Also offer methods that misbehave
    #[arg(long)]
    fault_methods: bool,
    /// What to log to standard error: error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log: tracing::Level,
}

/// Serves until SIGTERM or SIGINT. Prints one line when it is ready.
///
/// # Errors
///
/// When the address cannot be bound, when the process cannot become what the options say, and as
/// the model's own `serve`.
pub fn run(options: Options) -> anyhow::Result<()> {
    log::start(options.log);
    for option in options.model_options.meaningless_to(options.model) {
        tracing::warn!("{option} means nothing to {}", options.model);
    }
    let mut registry = methods::registry()?;
    if options.fault_methods {
        methods::add_fault_methods(&mut registry)?;
    }
    let mut service = Service::new(registry)
        .with_stats(true)
        .max_frame_len(options.max_frame_len)
        .frame_timeout(options.frame_timeout)
        .write_timeout(options.write_timeout)
        .first_request_timeout(options.first_request_timeout)
        .idle_timeout(options.idle_timeout);
    if let Some(deadline) = options.deadline {
        service = service.default_deadline(deadline);
    }
    if let Some(deadline) = options.max_deadline {
        service = service.max_deadline(deadline);
    }
    let (acceptor, pid_file) = options.start.start(&options.addr)?;
    let acceptor = acceptor.with_grace(options.grace);
    log::say(&format!("listening on {}", acceptor.address()));
    options
        .model
        .serve(acceptor, &service, &options.model_options, pid_file.as_ref())
        .with_context(|| format!("the server ({}) ended", options.model))
}
