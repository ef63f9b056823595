//! What a program needs besides its server to be a good service.
//!
//! ```text
//!   service manager ── LISTEN_FDS ──▶ inherited_socket ──▶ the server
//!                   ◀─ NOTIFY_SOCKET ─ notify ◀─────────── begins to accept, ends listening
//!   root            ── Account::assume ──▶ an ordinary user
//!   operator        ── kill $(cat …) ──▶ PidFile
//! ```
//!
//! # When to use it
//!
//! Use it in a program that a service manager starts, or that is started as root and should not
//! stay root.
//!
//! It is the wrong choice for a program that is started by hand, or in a container that sets its
//! user and port: such a program needs none of it.
//!
//! # Example
//!
//! The order matters: binding and the pidfile may need privileges that [`Account::assume`] drops.
//!
//! ```no_run
//! use rpc_daemon::{Account, Notice, PidFile, inherited_socket, notify};
//! use std::net::TcpListener;
//!
//! let listener = match inherited_socket()? {
//!     Some(socket) => TcpListener::from(socket),
//!     None => TcpListener::bind("127.0.0.1:80")?,
//! };
//! let pid_file = PidFile::create("/run/ping.pid")?;
//! Account::find("ping", None)?.assume()?;
//! notify(Notice::Ready);
//! // … serve …
//! notify(Notice::Stopping);
//! drop((listener, pid_file));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to read next
//!
//! `docs/deploy.md` in the repository, which has the unit files for systemd.

mod account;
mod inherited;
mod notify;
mod pid_file;

pub use account::{Account, AccountError};
pub use inherited::inherited_socket;
pub use notify::{Notice, notify};
pub use pid_file::{PidFile, PidFileError};

/// What only `rpc-server-prefork` needs, for its upgrade.
#[doc(hidden)]
pub mod internal {
    pub use crate::inherited::{STATUS_VARIABLE, report_ready};
}
