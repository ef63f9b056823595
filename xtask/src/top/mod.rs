//! `cargo xtask top ADDRESS`: what a server is doing, again and again.
//!
//! Each look is a connection of its own: under prefork one that stayed would take a worker away,
//! and a server that was restarted meanwhile is found again without further ado.
//!
//! Here belongs how the figures are shown. What they are belongs into `rpc_proto::stats`.

mod history;
mod screen;
mod text;

use std::io::{self, IsTerminal as _};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use nix::sys::signal::{SigSet, Signal};
use rpc_client::{CallError, Client, ErrorCode};
use rpc_proto::Address;
use rpc_proto::stats::{STATS, Stats};

use crate::log;
use history::History;
use screen::Screen;

/// How long a look may take, unless the interval is longer: who is hung says nothing.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);

/// The options of `top`.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// HOST:PORT or unix:PATH of the server
    addr: Address,
    /// The time between two looks, such as 250ms or 3s
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Print one snapshot, of two looks, and end; so it does where standard output is no terminal
    #[arg(long)]
    once: bool,
}

/// A server that is asked without a pause is busy with that alone.
fn interval(text: &str) -> Result<Duration, String> {
    let least = Duration::from_millis(10);
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if interval < least {
        return Err(format!("the least is {least:?}"));
    }
    Ok(interval)
}

enum Event {
    Looked(Result<Stats, CallError>),
    Signalled,
}

/// Shows the server until SIGINT, SIGTERM or SIGHUP; or once.
///
/// # Errors
///
/// When the server does not offer `rpc.stats`; if it is shown once, also when it does not answer.
pub fn run(options: Options) -> anyhow::Result<()> {
    let (to_us, events) = mpsc::channel();
    if options.once || !io::stdout().is_terminal() {
        let _looking = start_looking(&options, to_us)?;
        return show_once(&options, &events);
    }
    // Before the first thread, so that all of them leave the signals to the one that waits.
    start_waiting_for_signals(to_us.clone())?;
    let _looking = start_looking(&options, to_us)?;
    show_live(&options, &events)
}

fn show_once(options: &Options, events: &Receiver<Event>) -> anyhow::Result<()> {
    let mut history = History::default();
    for look in ["first", "second"] {
        match events.recv()? {
            Event::Looked(Ok(stats)) => history.add(stats),
            Event::Looked(Err(error)) => return Err(explain(error, look, &options.addr)),
            Event::Signalled => return Ok(()),
        }
    }
    let lines = text::lines(&options.addr, &history, None);
    let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    Ok(log::print(&text)?)
}

fn show_live(options: &Options, events: &Receiver<Event>) -> anyhow::Result<()> {
    let mut history = History::default();
    let mut screen = Screen::open()?;
    screen.draw(&[format!("{}: asking …", options.addr)])?;
    loop {
        let trouble = match events.recv()? {
            Event::Signalled => return Ok(()),
            Event::Looked(Ok(stats)) => {
                history.add(stats);
                None
            }
            Event::Looked(Err(error)) if offers_no_stats(&error) => {
                bail!(explain(error, "next", &options.addr));
            }
            Event::Looked(Err(error)) => Some(format!("{:#}", anyhow::Error::from(error))),
        };
        screen.draw(&text::lines(&options.addr, &history, trouble.as_deref()))?;
    }
}

fn explain(error: CallError, look: &str, address: &Address) -> anyhow::Error {
    if offers_no_stats(&error) {
        let why = "the server offers no rpc.stats; Service::with_stats(true) makes it";
        return anyhow::Error::from(error).context(why);
    }
    anyhow::Error::from(error).context(format!("the {look} look at {address} failed"))
}

fn offers_no_stats(error: &CallError) -> bool {
    let refusal = error.rpc_error().and_then(|refusal| refusal.known_code());
    refusal == Some(ErrorCode::MethodNotFound)
}

/// Looks until the sender that it returns is dropped.
fn start_looking(options: &Options, to_us: Sender<Event>) -> anyhow::Result<Sender<()>> {
    let (looking, is_over) = mpsc::channel::<()>();
    let (address, interval) = (options.addr.clone(), options.interval);
    let look_again_and_again = move || {
        while to_us.send(Event::Looked(look(&address, interval.max(LOOK_TIMEOUT)))).is_ok()
            && is_over.recv_timeout(interval) == Err(RecvTimeoutError::Timeout)
        {}
    };
    thread::Builder::new().name("top-look".into()).spawn(look_again_and_again)?;
    Ok(looking)
}

fn look(address: &Address, timeout: Duration) -> Result<Stats, CallError> {
    let client = Client::builder().connect_timeout(timeout).call_timeout(timeout);
    client.connect(address)?.call(STATS, &())
}

/// A call may hang, so it is not the thread that looks which waits. The process ends by returning
/// from `main`, so that the terminal is as it was before.
fn start_waiting_for_signals(to_us: Sender<Event>) -> anyhow::Result<()> {
    let mut signals = SigSet::empty();
    signals.extend([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block().context("cannot wait for signals")?;
    let wait = move || {
        while signals.wait().is_err() {}
        let _ = to_us.send(Event::Signalled);
    };
    thread::Builder::new().name("top-signals".into()).spawn(wait)?;
    Ok(())
}
