//! Four ways in which the workers of one port can wait for connections, with nothing else in them.
//!
//! A worker answers as the floor does, one connection at a time, and counts what it accepted and
//! how often it was woken for nothing. The master keeps every listening socket open, so that a
//! worker that dies takes no queue with it.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed};
use std::thread;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket,
    sockopt,
};
use nix::unistd::gettid;
use rpc_core::Acceptor;
use rpc_process::{Children, Event, Fork};

use super::exchange::{Called, Exchange};
use super::raw_echo::Echo;
use crate::{log, proc};

/// As long as that of the real servers.
const BACKLOG: i32 = 4096;

/// How a worker waits for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Waiting {
    /// accept(2) on a shared socket that blocks
    BlockingAccept,
    /// poll(2), then accept(2) on a shared socket that does not block
    Poll,
    /// epoll_wait(2) with EPOLLEXCLUSIVE, then the same
    EpollExclusive,
    /// accept(2) on a socket of its own, which blocks and shares the port (SO_REUSEPORT)
    ReusePort,
}

impl Waiting {
    /// The name on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Waiting::BlockingAccept => "blocking-accept",
            Waiting::Poll => "poll",
            Waiting::EpollExclusive => "epoll-exclusive",
            Waiting::ReusePort => "reuse-port",
        }
    }
}

/// The options of `raw-accept`.
#[derive(clap::Args, Debug)]
pub struct Options {
    /// How the workers wait
    #[arg(value_enum)]
    waiting: Waiting,
    #[arg(long, value_name = "N", default_value_t = 4)]
    workers: usize,
    /// Characters in the text of a request
    #[arg(long, value_name = "N", default_value_t = 9)]
    payload: usize,
    #[arg(long, value_enum, default_value = "echo")]
    method: Called,
    /// The file to which each worker adds a line with its counts when it ends
    #[arg(long, value_name = "FILE")]
    counts: PathBuf,
}

/// Serves on a port of the kernel's choice until SIGTERM, and then lets the workers tell.
///
/// # Errors
///
/// When the sockets cannot be had, forking fails, or a worker dies.
pub fn run(options: Options) -> anyhow::Result<()> {
    // Whoever started this may be killed. The workers then get SIGTERM, as all of rpc-core's do.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let listeners = listeners(options.waiting, options.workers)?;
    let echo = Echo::new(&Exchange::new(options.method, options.payload));
    // `Children` belong to an acceptor, which also stops them. Its socket is never used.
    let acceptor = Acceptor::bind(&"127.0.0.1:0".parse()?)?.stop_on_signals()?;
    let mut workers = Children::new(&acceptor)?;
    let mut stop_signal = SigSet::empty();
    stop_signal.add(Signal::SIGTERM);
    // Workers inherit that it is blocked, so it cannot come before they wait for it.
    stop_signal.thread_block()?;
    for number in 0..options.workers {
        if let Fork::Child(child) = workers.fork()? {
            let listener = listeners[number % listeners.len()].try_clone()?;
            let told = work(options.waiting, listener, echo, &stop_signal, &options.counts);
            child.exit(i32::from(told.is_err()));
        }
    }
    stop_signal.thread_unblock()?;
    log::say(&format!("listening on {}", listeners[0].local_addr()?));
    while !workers.is_stopping() {
        for event in workers.wait(None)? {
            if let Event::Exited(death) = event {
                bail!("a worker {}", death.reason);
            }
        }
    }
    Ok(workers.stop(acceptor)?)
}

/// One socket that all share, or one for each.
fn listeners(waiting: Waiting, workers: usize) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let count = if waiting == Waiting::ReusePort { workers } else { 1 };
    for _ in 0..count {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
        setsockopt(&socket, sockopt::ReusePort, &(waiting == Waiting::ReusePort))?;
        let port = listeners
            .first()
            .map_or(Ok(0), |first| Ok::<_, io::Error>(first.local_addr()?.port()))?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        bind(socket.as_raw_fd(), &SockaddrIn::from(address))?;
        listen(&socket, Backlog::new(BACKLOG)?)?;
        setsockopt(&socket, sockopt::TcpNoDelay, &true)?;
        listeners.push(TcpListener::from(socket));
    }
    let blocks = matches!(waiting, Waiting::BlockingAccept | Waiting::ReusePort);
    for listener in &listeners {
        listener.set_nonblocking(!blocks)?;
    }
    Ok(listeners)
}

/// What a worker counts. Its own threads share it and nobody else.
#[derive(Default)]
struct Counts {
    thread: AtomicI32,
    connections: AtomicU64,
    in_vain: AtomicU64,
}

/// A worker: one thread accepts and serves, this one waits for the signal and tells. So all four
/// can be stopped alike, whatever their accepting thread is blocked in.
fn work(
    waiting: Waiting,
    listener: TcpListener,
    echo: Echo,
    stop_signal: &SigSet,
    counts_file: &Path,
) -> anyhow::Result<()> {
    let counts = Arc::new(Counts::default());
    let counted = Arc::clone(&counts);
    thread::Builder::new().spawn(move || {
        let served = accept_and_serve(waiting, &listener, &echo, &counted);
        // The master sees the death and ends everything: no call may wait for this worker.
        log::say_aside(&format!("a worker of {}: {served:?}", waiting.name()));
        process::exit(1)
    })?;
    stop_signal.wait()?;
    // Every sleep of the accepting thread ends with a wake-up.
    let wake_ups = match counts.thread.load(Relaxed) {
        0 => 0,
        thread => proc::switches(thread)?,
    };
    let connections = counts.connections.load(Relaxed);
    let line = format!("{connections} {} {wake_ups}\n", counts.in_vain.load(Relaxed));
    let file = OpenOptions::new().append(true).create(true).open(counts_file);
    // One write: lines of several workers must not mix.
    file?.write_all(line.as_bytes()).context("the counts")
}

fn accept_and_serve(
    waiting: Waiting,
    listener: &TcpListener,
    echo: &Echo,
    counts: &Counts,
) -> anyhow::Result<()> {
    counts.thread.store(gettid().as_raw(), Relaxed);
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    if waiting == Waiting::EpollExclusive {
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLEXCLUSIVE;
        epoll.add(listener, EpollEvent::new(flags, 0))?;
    }
    let mut buffer = echo.buffer();
    loop {
        match waiting {
            Waiting::BlockingAccept | Waiting::ReusePort => {}
            Waiting::Poll => {
                let mut events = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
                poll(&mut events, PollTimeout::NONE)?;
            }
            Waiting::EpollExclusive => {
                epoll.wait(&mut [EpollEvent::empty()], EpollTimeout::NONE)?;
            }
        }
        match listener.accept() {
            Ok((stream, _)) => {
                counts.connections.fetch_add(1, Relaxed);
                // A connection that fails is its driver's to report.
                let _ = echo.serve(&stream, &mut buffer);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                counts.in_vain.fetch_add(1, Relaxed);
            }
            Err(error) => return Err(error.into()),
        }
    }
}
