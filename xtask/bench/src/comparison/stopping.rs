//! How long a server with many open connections takes to stop.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use indicatif::ProgressBar;
use xtask::launch::Server;
use xtask::model::Model;

use crate::comparison::report::{Figure, Row, Target, Verdict};
use crate::drivers::driver::{connect, expect_reply};
use crate::exchange::Exchange;
use crate::machine;
use crate::quartiles::Quartiles;
use crate::servers::server::{self, STOP_TIMEOUT};
use crate::settings::Settings;

/// The time from SIGTERM until the server's process has ended, with `settings.idle` connections
/// open: idle ones as far as the model serves so many, the others in the queue. Each of them must
/// have been told. Each round has a server of its own, on all processors, since children end in
/// parallel.
pub(crate) fn of_idle_server(
    settings: &Settings,
    model: Model,
    at_most: Duration,
    progress: &ProgressBar,
) -> anyhow::Result<Row> {
    let count = settings.idle;
    let mut times = Vec::new();
    for _ in 0..settings.rounds {
        times.push(machine::on_all_processors(|| time_of_stop(settings, model, count))?);
        progress.inc(1);
    }
    let (figure, median) = median_and_longest(times);
    let target = Target::Latency { at_most };
    Ok(Row::alone(format!("{model}, {count} open"), figure, target, median <= at_most))
}

fn median_and_longest(mut times: Vec<Duration>) -> (Figure, Duration) {
    times.sort_unstable();
    let median = times[times.len() / 2];
    (Figure::Latency { median, p99: times[times.len() - 1] }, median)
}

/// The most that fork's stop may take, as a multiple of a bare server's: one that kills its children,
/// waits for them, and tells nobody.
const AT_MOST_OF_BARE: f64 = 1.4;

/// As [`of_idle_server`] for fork, in turns with a bare forking server.
pub(crate) fn of_idle_fork_server(
    settings: &Settings,
    progress: &ProgressBar,
) -> anyhow::Result<Row> {
    let count = settings.idle;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..settings.rounds {
        ours.push(machine::on_all_processors(|| time_of_stop(settings, Model::Fork, count))?);
        bare.push(machine::on_all_processors(|| time_of_bare_stop(settings, count))?);
        progress.inc(1);
    }
    let ratios = ours.iter().zip(&bare).map(|(ours, bare)| bare.div_duration_f64(*ours));
    let ratio = Quartiles::of(ratios.collect());
    let at_least = 1.0 / AT_MOST_OF_BARE;
    Ok(Row {
        subject: format!("{}, {count} open", Model::Fork),
        against: Some("bare fork".to_owned()),
        figure: median_and_longest(ours).0,
        floor: Some(median_and_longest(bare).0),
        ratio: Some(ratio),
        target: Target::Ratio { at_least },
        verdict: Verdict::reached(ratio.median >= at_least),
        note: None,
    })
}

fn time_of_bare_stop(settings: &Settings, count: usize) -> anyhow::Result<Duration> {
    let server = server::raw(settings, Model::Fork, 0, settings.payload, &["--stops"])?;
    Ok(stop(server, settings, count, count)?.0)
}

fn time_of_stop(settings: &Settings, model: Model, count: usize) -> anyhow::Result<Duration> {
    let arguments = server::for_idle_connections(count);
    let server = server::ours(settings, model, settings.workers, &arguments)?;
    let served = match model {
        Model::Single => 1,
        Model::Prefork => settings.workers,
        Model::Thread | Model::Fork | Model::PreforkThread => count,
    };
    let (time, connections) = stop(server, settings, count, served)?;
    for mut connection in connections {
        let mut goodbye = Vec::new();
        connection.read_to_end(&mut goodbye).context("a connection was not ended in order")?;
        let was_told = goodbye.windows(6).any(|bytes| bytes == b"-32002");
        ensure!(was_told, "a connection ended without a word");
    }
    Ok(time)
}

/// Stops a server with `count` connections, of which it serves so many; returns the time and them.
fn stop(
    mut server: Server,
    settings: &Settings,
    count: usize,
    served: usize,
) -> anyhow::Result<(Duration, Vec<TcpStream>)> {
    let address = server.socket_address()?;
    let exchange = Exchange::new(settings.called, settings.payload);
    let connections = (0..count)
        .map(|number| open(address, (number < served).then_some(&exchange)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let begin = Instant::now();
    let status = server.stop(STOP_TIMEOUT)?;
    let time = begin.elapsed();
    ensure!(status.success(), "the server ended with {status}");
    Ok((time, connections))
}

/// A connection, and one call on it if it is served.
fn open(address: SocketAddr, exchange: Option<&Exchange>) -> anyhow::Result<TcpStream> {
    let mut connection = connect(address)?;
    if let Some(exchange) = exchange {
        connection.write_all(&exchange.request)?;
        expect_reply(&mut connection, exchange)?;
    }
    Ok(connection)
}
