//! How long a server with many open connections takes to stop.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use indicatif::ProgressBar;
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
    times.sort_unstable();
    let median = times[times.len() / 2];
    let longest = times[times.len() - 1];
    let figure = Figure::Latency { median, p99: longest };
    let target = Target::Latency { at_most };
    Ok(Row::alone(format!("{model}, {count} open"), figure, target, median <= at_most))
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
    let figure = |mut times: Vec<Duration>| {
        times.sort_unstable();
        Figure::Latency { median: times[times.len() / 2], p99: times[times.len() - 1] }
    };
    Ok(Row {
        subject: format!("{}, {count} open", Model::Fork),
        against: Some("bare fork".to_owned()),
        figure: figure(ours),
        floor: Some(figure(bare)),
        ratio: Some(ratio),
        target: Target::Ratio { at_least },
        verdict: Verdict::reached(ratio.median >= at_least),
        note: None,
    })
}

fn time_of_bare_stop(settings: &Settings, count: usize) -> anyhow::Result<Duration> {
    let mut server = server::raw(settings, Model::Fork, 0, settings.payload, &["--stops"])?;
    let address = server.socket_address()?;
    let exchange = Exchange::new(settings.called, settings.payload);
    let connections =
        (0..count).map(|_| open(address, Some(&exchange))).collect::<anyhow::Result<Vec<_>>>()?;
    let begin = Instant::now();
    let status = server.stop(STOP_TIMEOUT)?;
    let time = begin.elapsed();
    ensure!(status.success(), "the bare server ended with {status}");
    drop(connections);
    Ok(time)
}

fn time_of_stop(settings: &Settings, model: Model, count: usize) -> anyhow::Result<Duration> {
    let mut server =
        server::ours(settings, model, settings.workers, &server::for_idle_connections(count))?;
    let address = server.socket_address()?;
    let exchange = Exchange::new(settings.called, settings.payload);
    let served = match model {
        Model::Single => 1,
        Model::Prefork => settings.workers,
        Model::Thread | Model::Fork | Model::PreforkThread => count,
    };
    let mut connections = (0..count)
        .map(|number| open(address, (number < served).then_some(&exchange)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let begin = Instant::now();
    let status = server.stop(STOP_TIMEOUT)?;
    let time = begin.elapsed();
    ensure!(status.success(), "the server ended with {status}");
    for connection in &mut connections {
        let mut goodbye = Vec::new();
        connection.read_to_end(&mut goodbye).context("a connection was not ended in order")?;
        let was_told = goodbye.windows(6).any(|bytes| bytes == b"-32002");
        ensure!(was_told, "a connection ended without a word");
    }
    Ok(time)
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
