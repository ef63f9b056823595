//! The floor: servers that answer the right bytes and do nothing else.
//!
//! One read, a count of whole requests by their known length, one write of as many prepared
//! replies. Nothing is parsed, limited, timed or logged, so no server of the same model that
//! really looks at its requests can be faster.
//!
//! The processes are forked by [`Children`], since only rpc-process may fork. It counts its threads and
//! watches the child, which a bare fork(2) does not; next to what the kernel does for a fork that
//! is not to be seen: a bare fork server in C took as long for a connection, within one per cent.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{Backlog, listen, setsockopt, sockopt};
use nix::sys::wait::waitpid;
use nix::unistd::Pid;
use rpc_core::Acceptor;
use rpc_process::{Children, Fork};
use xtask::log;
use xtask::model::Model;

use crate::exchange::{Called, Exchange};

/// What one read takes at most, unless one request is longer.
const BUFFER_LEN: usize = 16 * 1024;

/// The options of `raw-echo`.
#[derive(clap::Args, Debug)]
pub(crate) struct Options {
    /// Which model's shape to serve in
    #[arg(value_enum)]
    model: Model,
    #[arg(long, value_enum, default_value = "echo")]
    method: Called,
    /// Characters in the text of a request
    #[arg(long, value_name = "N", default_value_t = 9)]
    payload: usize,
    /// Worker processes of prefork and prefork-thread
    #[arg(long, value_name = "N", default_value_t = 4)]
    workers: usize,
    /// The requests are those of `rpc-client`, which are longer, and call echo
    #[arg(long)]
    for_client: bool,
    /// SIGTERM ends fork: it kills its children, waits for them and exits
    #[arg(long)]
    stops: bool,
}

/// Serves on a port of the kernel's choice until it is killed.
///
/// # Errors
///
/// When the socket cannot be had, or accepting or forking fails.
pub(crate) fn run(options: Options) -> anyhow::Result<()> {
    // The bench may be killed, and then nobody else would end this server.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // The same queue as the real servers have, and connections inherit the option.
    listen(&listener, Backlog::new(4096)?)?;
    setsockopt(&listener, sockopt::TcpNoDelay, &true)?;
    log::say(&format!("listening on {}", listener.local_addr()?));

    let exchange = match options.for_client {
        true => Exchange::of_client(options.payload),
        false => Exchange::new(options.method, options.payload),
    };
    let echo = Arc::new(Echo::new(&exchange));
    match options.model {
        Model::Single => serve_in_turn(&listener, &echo),
        Model::Thread => serve_in_threads(&listener, &echo),
        Model::Fork => {
            let terminate = SigSet::from_iter([Signal::SIGTERM]);
            let signals = options.stops.then(|| SignalFd::new(&terminate)).transpose()?;
            signals.as_ref().map_or(Ok(()), |_| terminate.thread_block())?;
            serve_in_children(&listener, &echo, signals.as_ref())
        }
        Model::Prefork => serve_in_workers(options.workers, || serve_in_turn(&listener, &echo)),
        Model::PreforkThread => {
            serve_in_workers(options.workers, || serve_in_threads(&listener, &echo))
        }
    }
}

fn serve_in_turn(listener: &TcpListener, echo: &Echo) -> anyhow::Result<()> {
    let mut buffer = echo.buffer();
    loop {
        let (stream, _) = listener.accept()?;
        // A connection that fails is its driver's to report.
        let _ = echo.serve(&stream, &mut buffer);
    }
}

fn serve_in_threads(listener: &TcpListener, echo: &Arc<Echo>) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        let echo = Arc::clone(echo);
        thread::Builder::new().spawn(move || drop(echo.serve(&stream, &mut echo.buffer())))?;
    }
}

/// Until it is killed, or SIGTERM comes through `signals`: then the children are killed. Nobody is
/// told; the kernel closes their connections.
fn serve_in_children(
    listener: &TcpListener,
    echo: &Echo,
    signals: Option<&SignalFd>,
) -> anyhow::Result<()> {
    let mut children = new_children()?;
    let mut pids = Vec::new();
    let mut buffer = echo.buffer();
    while !signals.is_some_and(|signals| comes_before_a_connection(signals, listener)) {
        let (stream, _) = listener.accept()?;
        children.look();
        match children.fork()? {
            Fork::Parent(pid) if signals.is_some() => pids.push(Pid::from_raw(pid)),
            Fork::Parent(_) => {}
            Fork::Child(child) => {
                let _ = echo.serve(&stream, &mut buffer);
                child.exit(0);
            }
        }
    }
    pids.iter().try_for_each(|&pid| kill(pid, Signal::SIGKILL))?;
    pids.iter().try_for_each(|&pid| waitpid(pid, None).map(drop))?;
    Ok(())
}

fn comes_before_a_connection(signals: &SignalFd, listener: &TcpListener) -> bool {
    let watch = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut events = [watch(signals.as_fd()), watch(listener.as_fd())];
    poll(&mut events, PollTimeout::NONE).is_ok() && events[0].any() == Some(true)
}

fn serve_in_workers(count: usize, worker: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut workers = new_children()?;
    for _ in 0..count {
        if let Fork::Child(child) = workers.fork()? {
            // The stop signals of a child of rpc-core do not end a blocking accept(2).
            let served = prctl::set_pdeathsig(Signal::SIGKILL).is_ok() && worker().is_ok();
            child.exit(i32::from(!served));
        }
    }
    loop {
        workers.wait(None)?;
    }
}

/// `Children` belong to an acceptor; this one's socket is never used.
fn new_children() -> anyhow::Result<Children> {
    let acceptor = Acceptor::bind(&"127.0.0.1:0".parse()?)?;
    Children::new(&acceptor).context("the floor cannot have children")
}

/// Prepared replies.
struct Echo {
    request_len: usize,
    reply_len: usize,
    /// One reply after the other, as many as one read can ask for.
    replies: Vec<u8>,
    buffer_len: usize,
}

impl Echo {
    fn new(exchange: &Exchange) -> Echo {
        let request_len = exchange.request.len();
        let buffer_len = BUFFER_LEN.max(request_len);
        Echo {
            request_len,
            reply_len: exchange.reply.len(),
            // One more: the beginning of the first may have come with the read before.
            replies: exchange.reply.repeat(buffer_len / request_len + 1),
            buffer_len,
        }
    }

    fn buffer(&self) -> Vec<u8> {
        vec![0; self.buffer_len]
    }

    fn serve(&self, mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<()> {
        let mut pending = 0;
        loop {
            match stream.read(buffer)? {
                0 => return Ok(()),
                count => pending += count,
            }
            let requests = pending / self.request_len;
            pending %= self.request_len;
            if requests > 0 {
                stream.write_all(&self.replies[..requests * self.reply_len])?;
            }
        }
    }
}
