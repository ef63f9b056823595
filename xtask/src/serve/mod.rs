//! `cargo xtask serve MODEL`: one server in the foreground.
//!
//! Here belongs what a program does around a model. The models are started in `model`, and the
//! methods that they serve are in `methods`.

mod start;

use std::time::Duration;

use anyhow::Context as _;
use clap::builder::RangedU64ValueParser;
use rpc_core::{Address, Service};

use crate::log;
use crate::methods;
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
    /// The longest request body, in bytes [default: 8388608]
    #[arg(long, value_name = "BYTES", value_parser = RangedU64ValueParser::<usize>::new().range(1..))]
    max_frame_len: Option<usize>,
    /// How long a whole request may take to arrive once it began, such as 250ms or 3s [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    frame_timeout: Option<Duration>,
    /// How long a peer may take to accept a reply [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    write_timeout: Option<Duration>,
    /// How long a connection may be silent before its first request [default: 10s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    first_request_timeout: Option<Duration>,
    /// How long a connection may be silent between two requests [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    idle_timeout: Option<Duration>,
    /// How long a call may take that does not say so itself [default: no bound]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    deadline: Option<Duration>,
    /// How long any call may take, whatever it says [default: no bound]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    max_deadline: Option<Duration>,
    /// How long requests in flight may take after SIGTERM or SIGINT [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    grace: Option<Duration>,
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
    let mut service = Service::new(registry).with_stats(true);
    if let Some(bytes) = options.max_frame_len {
        service = service.max_frame_len(bytes);
    }
    if let Some(timeout) = options.frame_timeout {
        service = service.frame_timeout(timeout);
    }
    if let Some(timeout) = options.write_timeout {
        service = service.write_timeout(timeout);
    }
    if let Some(timeout) = options.first_request_timeout {
        service = service.first_request_timeout(timeout);
    }
    if let Some(timeout) = options.idle_timeout {
        service = service.idle_timeout(timeout);
    }
    if let Some(deadline) = options.deadline {
        service = service.default_deadline(deadline);
    }
    if let Some(deadline) = options.max_deadline {
        service = service.max_deadline(deadline);
    }
    let (mut acceptor, pid_file) = options.start.start(&options.addr)?;
    if let Some(grace) = options.grace {
        acceptor = acceptor.with_grace(grace);
    }
    log::say(&format!("listening on {}", acceptor.address()));
    options
        .model
        .serve(acceptor, &service, &options.model_options, pid_file.as_ref())
        .with_context(|| format!("the server ({}) ended", options.model))
}
