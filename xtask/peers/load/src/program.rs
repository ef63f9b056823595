//! The command line of a peer, and how its server says that it is ready.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::alarm;

/// How many seconds a driver may take beyond the time for which it should call.
const PATIENCE: u32 = 60;

/// What the program was started for.
#[derive(Parser, Debug)]
pub enum Mode {
    /// Serve echo on a port of the kernel's choice until killed
    Serve,
    /// Call a server of the same peer, and print what came of it
    Drive(Load),
}

/// What `drive` does.
#[derive(clap::Args, Clone, Debug)]
pub struct Load {
    /// Where the server listens
    pub address: SocketAddr,
    /// How many connections to open
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub connections: usize,
    /// How many calls at a time on each
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub in_flight: usize,
    /// Characters in the text that is sent
    #[arg(long, value_name = "N", default_value_t = 9)]
    pub payload: usize,
    /// How long to call
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub seconds: f64,
    /// A new connection for every call
    #[arg(long)]
    pub churn: bool,
}

impl Mode {
    /// Reads the command line. Ends the program where it makes no sense.
    ///
    /// # Errors
    ///
    /// When the kernel does not promise to end this program with the one that started it.
    pub fn from_arguments() -> anyhow::Result<Mode> {
        // Whoever started this may be killed, and then nobody else would end it.
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        let mode = Mode::parse();
        if let Mode::Drive(load) = &mode {
            // A call that hangs ends the program, so that a measurement fails and does not hang.
            alarm::set(load.seconds as u32 + PATIENCE);
        }
        Ok(mode)
    }
}

impl Load {
    /// How long to call.
    ///
    /// # Errors
    ///
    /// When the number of seconds is no duration.
    pub fn length(&self) -> anyhow::Result<Duration> {
        Duration::try_from_secs_f64(self.seconds).context("--seconds")
    }

    /// The text that is sent, and that has to come back.
    pub fn text(&self) -> String {
        "ireader 0".chars().cycle().take(self.payload).collect()
    }
}

/// Prints the line that says where a server can be reached.
///
/// # Errors
///
/// When nobody can read it.
pub fn announce(address: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on {address}")?;
    stdout.flush()
}

/// An address that nobody listens on, for libraries that bind themselves and do not tell where.
///
/// # Errors
///
/// When no address can be had.
pub fn free_address() -> io::Result<SocketAddr> {
    // Somebody else could take the port until the library binds it; then that fails, loudly.
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Announces `address` from a thread of its own as soon as something accepts there, for libraries
/// whose call that binds does not return.
pub fn announce_when_reachable(address: SocketAddr) {
    thread::spawn(move || {
        while TcpStream::connect(address).is_err() {
            // There is no event to wait for. If binding fails, the program ends, and this with it.
            thread::sleep(Duration::from_millis(1));
        }
        announce(address)
    });
}
