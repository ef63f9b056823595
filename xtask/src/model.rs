//! The models by name, and the one place where each is started.

use std::fmt;

use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use rpc_core::{Acceptor, MAX_CONNECTIONS, ServeError, Service};

/// A way to run the connection loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
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
pub(crate) const MAX_WORKERS: u64 = 1024;

/// The options that belong to some of the models; the others ignore them, so that one script can
/// start every model in the same way.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
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
}

/// None at all would be a server that serves nobody.
fn up_to(most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most)
}

impl ModelOptions {
    /// The options that were given although they mean nothing to `model`.
    pub fn meaningless_to(&self, model: Model) -> Vec<&'static str> {
        let of_threads = matches!(model, Model::Thread | Model::PreforkThread);
        let given = [
            ("--workers", self.workers, model.has_workers()),
            ("--max-connections", self.max_connections, of_threads),
            ("--max-children", self.max_children, model == Model::Fork),
        ];
        given
            .into_iter()
            .filter(|&(_, value, means_something)| value.is_some() && !means_something)
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
        options: ModelOptions,
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
        match self {
            Model::Single => rpc_server_single::serve(acceptor, service),
            Model::Thread => threads.serve(acceptor, service),
            Model::Fork => children.serve(acceptor, service),
            Model::Prefork => workers.serve(acceptor, service),
            Model::PreforkThread => {
                let worker = |acceptor, service: &_| threads.serve(acceptor, service);
                workers.serve_with(acceptor, service, worker)
            }
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
