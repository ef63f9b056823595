//! What is measured when nobody asks for anything else, and with which targets.

use std::time::Duration;

use clap::ValueEnum;
use indicatif::ProgressBar;
use xtask::model::Model;

use crate::comparison::load::{Load, Measure};
use crate::comparison::report::{Row, Target};
use crate::comparison::rounds::{Comparison, Side};
use crate::comparison::{memory, stopping};
use crate::drivers::driver::{Connection, OwnClient, SeedPattern};
use crate::exchange::{Called, Exchange, text};
use crate::servers::{seed_server, server};
use crate::settings::Settings;

/// The text of a large call, in bytes.
const LARGE: usize = 1_000_000;

/// Groups of lines in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// 1 connection, 1 call in flight, every model
    OneCall,
    /// 1 connection, 16 calls in flight
    #[value(name = "pipeline-16")]
    Pipeline16,
    /// 1 connection, 128 calls in flight
    #[value(name = "pipeline-128")]
    Pipeline128,
    /// 16 connections, 1 call in flight on each
    #[value(name = "16-connections")]
    SixteenConnections,
    /// Connect, one call, close
    Churn,
    /// 1 MB there and back
    Large,
    /// The project's client and server together
    OwnClient,
    /// A client that writes prefix and body separately with Nagle's algorithm on
    SeedClient,
    /// Memory of an idle connection
    IdleMemory,
    /// From SIGTERM to the end, with 1,000 connections open
    Stop,
    /// One active connection beside 10,000 idle ones
    Crowd,
    /// The servers in Python that this project grew from
    SeedServers,
}

impl Case {
    /// The name on the command line.
    pub(crate) fn name(self) -> String {
        let value = self.to_possible_value().expect("every case can be asked for");
        value.get_name().to_owned()
    }

    /// The lines of this case.
    pub(crate) fn steps(self, settings: &Settings) -> Vec<Step> {
        let echo = |model, load: Load, at_least| {
            compare(move |settings| comparison(settings, model, load, Target::Ratio { at_least }))
        };
        let load = Load::of(settings);
        match self {
            Case::OneCall => Model::ALL.map(|model| echo(model, load, 0.97)).into(),
            Case::Pipeline16 => vec![echo(Model::Single, load.depth(16), 0.85)],
            Case::Pipeline128 => vec![echo(Model::Single, load.depth(128), 0.50)],
            Case::SixteenConnections => [Model::Thread, Model::Prefork]
                .map(|model| echo(model, load.connections(16), 0.95))
                .into(),
            Case::Churn => vec![
                echo(Model::Single, load.churn(), 0.93),
                echo(Model::Prefork, load.churn(), 0.93),
                echo(Model::Thread, load.churn(), 1.30),
                echo(Model::Fork, load.churn(), 0.95),
            ],
            Case::Large => vec![echo(Model::Single, load.payload(LARGE), 0.50)],
            Case::OwnClient => vec![compare(own_client)],
            Case::SeedClient => vec![compare(seed_client)],
            Case::IdleMemory => {
                let idle = |model, kibibytes: u64| {
                    step(move |settings, progress| {
                        memory::of_idle_connections(settings, model, kibibytes * 1024, progress)
                    })
                };
                let large = |settings: &_, progress: &_| {
                    memory::after_large_call(settings, LARGE, progress)
                };
                vec![idle(Model::Thread, 12), idle(Model::Fork, 38), step(large)]
            }
            Case::Stop => Model::ALL
                .map(|model| {
                    step(move |settings, progress| match model {
                        Model::Fork => stopping::of_idle_fork_server(settings, progress),
                        _ => {
                            let at_most = Duration::from_millis(100);
                            stopping::of_idle_server(settings, model, at_most, progress)
                        }
                    })
                })
                .into(),
            Case::Crowd => vec![step(crowd)],
            Case::SeedServers => {
                let with_seed = |model| {
                    let source = seed_server::program(model)?;
                    Some(compare(move |settings| seed_server(settings, model, source)))
                };
                Model::ALL.into_iter().filter_map(with_seed).collect()
            }
        }
    }

    /// Whether python3 is needed.
    pub(crate) fn needs_python(self) -> bool {
        matches!(self, Case::SeedClient | Case::SeedServers)
    }
}

/// Measures one line of the table.
pub(crate) type Step = Box<dyn FnOnce(&Settings, &ProgressBar) -> anyhow::Result<Row>>;

fn step(run: impl FnOnce(&Settings, &ProgressBar) -> anyhow::Result<Row> + 'static) -> Step {
    Box::new(run)
}

/// A step with two servers in turns, which `begin` starts.
pub(crate) fn compare(begin: impl Fn(&Settings) -> anyhow::Result<Comparison> + 'static) -> Step {
    step(move |settings, progress| Comparison::run(settings, progress, || begin(settings)))
}

/// A model of ours against the floor of the same model.
pub(crate) fn comparison(
    settings: &Settings,
    model: Model,
    load: Load,
    target: Target,
) -> anyhow::Result<Comparison> {
    let exchange = Exchange::new(settings.called, load.payload);
    let workers = load.workers(settings);
    let ours = server::ours(settings, model, workers, &[])?;
    let requests = ["--method", settings.called.method()];
    let raw = server::raw(settings, model, workers, load.payload, &requests)?;
    Ok(Comparison {
        subject: Side::under(load, model.name(), ours, &exchange)?,
        against: Side::under(load, "raw", raw, &exchange)?,
        measure: load.measure(),
        target,
    })
}

fn own_client(settings: &Settings) -> anyhow::Result<Comparison> {
    let model = Model::Single;
    let server = server::ours(settings, model, settings.workers, &[])?;
    let client = OwnClient::connect(server.socket_address()?, text(settings.payload))?;
    let requests = ["--method", Called::Echo.method()];
    let raw = server::raw(settings, model, settings.workers, settings.payload, &requests)?;
    let exchange = Exchange::new(Called::Echo, settings.payload);
    Ok(Comparison {
        subject: Side::new("client and single", server, client),
        against: Side::under(Load::of(settings), "raw", raw, &exchange)?,
        measure: Measure::Latency,
        target: Target::Ratio { at_least: 0.95 },
    })
}

fn seed_client(settings: &Settings) -> anyhow::Result<Comparison> {
    let model = Model::Single;
    let source = seed_server::program(model).expect("the seed has a server for this model");
    let ours = server::ours(settings, model, settings.workers, &[])?;
    let pattern =
        SeedPattern::connect(ours.socket_address()?, &Exchange::from_seed(settings.payload))?;
    let seed = seed_server::start(source)?;
    let seed_pattern =
        SeedPattern::connect(seed.socket_address()?, &Exchange::with_seed(settings.payload))?;
    Ok(Comparison {
        subject: Side::new("single", ours, pattern),
        against: Side::new("seed, Python", seed, seed_pattern),
        measure: Measure::Latency,
        target: Target::Latency { at_most: Duration::from_micros(200) },
    })
}

fn seed_server(settings: &Settings, model: Model, source: &str) -> anyhow::Result<Comparison> {
    let load = Load::of(settings);
    let ours = server::ours(settings, model, settings.workers, &[])?;
    Ok(Comparison {
        subject: Side::under(load, model.name(), ours, &Exchange::from_seed(settings.payload))?,
        against: Side::under(
            load,
            "seed, Python",
            seed_server::start(source)?,
            &Exchange::with_seed(settings.payload),
        )?,
        measure: Measure::Latency,
        target: Target::None,
    })
}

/// One active connection of a thread server, with and without many idle ones beside it.
fn crowd(settings: &Settings, progress: &ProgressBar) -> anyhow::Result<Row> {
    let wanted = settings.crowd;
    let mut shortage = None;
    let mut row = Comparison::run(settings, progress, || {
        let (comparison, found) = beside_a_crowd(settings)?;
        shortage = shortage.take().or(found);
        Ok(comparison)
    })?;
    row.note = shortage.map(|(count, reason)| format!("ONLY {count} of {wanted} idle: {reason}"));
    Ok(row)
}

/// With how many idle connections there are if not all could be opened, and why.
fn beside_a_crowd(settings: &Settings) -> anyhow::Result<(Comparison, Option<(usize, String)>)> {
    let model = Model::Thread;
    let load = Load::of(settings);
    let exchange = Exchange::new(settings.called, settings.payload);
    // A few descriptors belong to other things.
    let wanted = settings.crowd;
    let possible = settings.file_limit.saturating_sub(200);
    let mut reason = format!("the limit of open files is {}", settings.file_limit);
    let start =
        || server::ours(settings, model, settings.workers, &server::for_idle_connections(wanted));

    let alone = start()?;
    let crowded = start()?;
    let mut idle = Vec::new();
    while idle.len() < wanted.min(possible) {
        match Connection::open(crowded.socket_address()?, &exchange, 1) {
            Ok(connection) => idle.push(connection),
            Err(error) => {
                reason = format!("{error:#}");
                break;
            }
        }
    }
    let count = idle.len();
    let mut subject = Side::under(load, &format!("beside {count} idle"), crowded, &exchange)?;
    subject.keep(idle);
    let comparison = Comparison {
        subject,
        against: Side::under(load, "none idle", alone, &exchange)?,
        measure: Measure::Latency,
        target: Target::Ratio { at_least: 0.90 },
    };
    Ok((comparison, (count < wanted).then_some((count, reason))))
}
