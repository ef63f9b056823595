//! The models by name, and the one place where each is started.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use rpc_core::{Acceptor, MAX_CONNECTIONS, ServeError, Service};
use rpc_daemon::PidFile;
use serde::Serialize;

use crate::serve::boot;

/// A way to run the connection loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// One connection at a time
    Single,
    /// A thread a connection
    Thread,
    /// A process a connection
    Fork,
    /// Worker processes, each serving one connection at a time
    Prefork,
    /// Worker processes, each with a thread a connection
    PreforkThread,
}

/// More workers than this are a slip of the finger: each of them is a process from the start.
pub const MAX_WORKERS: u64 = 1024;

/// The options that belong to some of the models; the others ignore them, so that one script can
/// start every model in the same way.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ModelOptions {
    /// Worker processes of prefork and prefork-thread [default: 2 × processors + 1]
    #[arg(long, value_name = "N", value_parser = up_to(MAX_WORKERS))]
    pub workers: Option<usize>,
    /// Connections that thread serves at a time, and each worker of prefork-thread [default: 1024]
    #[arg(long, value_name = "N", value_parser = up_to(MAX_CONNECTIONS as u64))]
    pub max_connections: Option<usize>,
    /// Connections that fork serves at a time [default: 512]
    #[arg(long, value_name = "N", value_parser = up_to(MAX_CONNECTIONS as u64))]
    pub max_children: Option<usize>,
    /// Replace a worker once it has served so many calls, and up to a tenth more; its connections
    /// go on until they end, at most for --drain
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_requests: Option<u64>,
    /// How long a new worker may take until it accepts [default: 60s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub boot_timeout: Option<Duration>,
    /// How long the connections of a replaced worker may go on [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub drain: Option<Duration>,
    /// How long a worker may stand still that somebody stopped [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub hung_after: Option<Duration>,
    /// Keep each worker to one processor
    #[arg(long)]
    pub pin_workers: bool,
    /// Look into this file when a worker starts, for a fault: see `boot`
    #[arg(long, value_name = "FILE", hide = true)]
    pub boot_fault: Option<PathBuf>,
}

/// None at all would be a server that serves nobody.
fn up_to(most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most)
}

impl ModelOptions {
    /// The options that were given although they mean nothing to `model`.
    pub fn meaningless_to(&self, model: Model) -> Vec<&'static str> {
        let of_threads = matches!(model, Model::Thread | Model::PreforkThread);
        let of_workers = model.has_workers();
        let given = [
            ("--workers", self.workers.is_some(), of_workers),
            ("--max-connections", self.max_connections.is_some(), of_threads),
            ("--max-children", self.max_children.is_some(), model == Model::Fork),
            ("--max-requests", self.max_requests.is_some(), of_workers),
            ("--boot-timeout", self.boot_timeout.is_some(), of_workers),
            ("--drain", self.drain.is_some(), of_workers),
            ("--hung-after", self.hung_after.is_some(), of_workers),
            ("--pin-workers", self.pin_workers, of_workers),
        ];
        given
            .into_iter()
            .filter(|&(_, is_given, means_something)| is_given && !means_something)
            .map(|(option, ..)| option)
            .collect()
    }
}

impl Model {
    /// Every model, in the order in which they are best understood.
    pub const ALL: [Model; 5] =
        [Model::Single, Model::Thread, Model::Fork, Model::Prefork, Model::PreforkThread];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Model::Single => "single",
            Model::Thread => "thread",
            Model::Fork => "fork",
            Model::Prefork => "prefork",
            Model::PreforkThread => "prefork-thread",
        }
    }

    /// Whether the processes that serve are there before anybody connects.
    pub const fn has_workers(self) -> bool {
        matches!(self, Model::Prefork | Model::PreforkThread)
    }

    /// Serves until the acceptor is told to stop.
    ///
    /// # Errors
    ///
    /// As the model's own `serve`.
    pub fn serve(
        self,
        acceptor: Acceptor,
        service: &Service,
        options: &ModelOptions,
        pid_file: Option<&PidFile>,
    ) -> Result<(), ServeError> {
        let mut threads = rpc_server_thread::Config::new();
        if let Some(connections) = options.max_connections {
            threads = threads.max_connections(connections);
        }
        let mut children = rpc_server_fork::Config::new();
        if let Some(max) = options.max_children {
            children = children.max_children(max);
        }
        let mut workers = rpc_server_prefork::Config::new();
        if let Some(count) = options.workers {
            workers = workers.workers(count);
        }
        if let Some(calls) = options.max_requests {
            workers = workers.max_requests(calls);
        }
        if let Some(timeout) = options.boot_timeout {
            workers = workers.boot_timeout(timeout);
        }
        if let Some(time) = options.drain {
            workers = workers.drain(time);
        }
        if let Some(time) = options.hung_after {
            workers = workers.hung_after(time);
        }
        if let Some(pid_file) = pid_file {
            workers = workers.pid_file(pid_file);
        }
        workers = workers.pin_workers(options.pin_workers);
        let boot = || options.boot_fault.as_deref().map_or(Ok(()), boot::look_for_fault);
        match self {
            Model::Single => rpc_server_single::serve(acceptor, service),
            Model::Thread => threads.serve(acceptor, service),
            Model::Fork => children.serve(acceptor, service),
            Model::Prefork if options.boot_fault.is_none() => workers.serve(acceptor, service),
            Model::Prefork => workers.serve_with(acceptor, service, |acceptor, service| {
                boot().and_then(|()| rpc_server_single::serve(acceptor, service))
            }),
            Model::PreforkThread => workers.serve_with(acceptor, service, |acceptor, service| {
                boot().and_then(|()| threads.serve(acceptor, service))
            }),
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
