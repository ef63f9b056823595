//! Notifying a service manager of a server's state: the protocol of sd_notify(3), without its
//! library.
//!
//! It sends one datagram per notice to the Unix socket that `NOTIFY_SOCKET` names. Nothing depends
//! on it: a server without a service manager, or whose manager does not listen, serves all the
//! same.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::time::{ClockId, clock_gettime};

use crate::inherited::report_ready;

/// A notice for a service manager: sd_notify(3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The start or a reload is complete: the server accepts connections.
    Ready,
    /// A reload has begun; [`Ready`](Notice::Ready) ends it.
    Reloading,
    /// The server is about to end.
    Stopping,
    /// The process with this id is the main one from now on. By default a manager accepts this only
    /// from the present main process (systemd.service(5), `NotifyAccess`).
    MainProcess(i32),
}

/// Sends `notice` to the service manager, if `NOTIFY_SOCKET` is set.
///
/// Does not block. A notice that cannot be sent at once is logged at the level `debug` and lost.
///
/// [`Notice::Ready`] also goes to the server that this program replaces, if that server has started
/// it in an upgrade: the old server continues until it gets this.
pub fn notify(notice: Notice) {
    if notice == Notice::Ready {
        report_ready();
    }
    let Some(name) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    if let Err(error) = message(notice).and_then(|message| send(&name, &message)) {
        tracing::debug!(?notice, socket = ?name, %error, "cannot notify the service manager");
    }
}

fn message(notice: Notice) -> io::Result<String> {
    Ok(match notice {
        Notice::Ready => "READY=1\n".to_owned(),
        Notice::Reloading => {
            // From the time systemd sees whether this belongs to its latest request. Both lines
            // must be in one message (systemd.service(5), Type=notify-reload).
            let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
            let micros = now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000;
            format!("RELOADING=1\nMONOTONIC_USEC={micros}\n")
        }
        Notice::Stopping => "STOPPING=1\n".to_owned(),
        Notice::MainProcess(pid) => format!("MAINPID={pid}\n"),
    })
}

fn send(name: &OsStr, message: &str) -> io::Result<()> {
    let address = match name.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => {
            let message = "NOTIFY_SOCKET is neither a path nor an abstract socket";
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(notice: Notice, expected: &str) {
        assert_eq!(message(notice).unwrap(), expected);
    }

    #[test]
    fn each_notice_is_one_assignment_per_line() {
        check(Notice::Ready, "READY=1\n");
        check(Notice::Stopping, "STOPPING=1\n");
        check(Notice::MainProcess(4711), "MAINPID=4711\n");
    }

    #[test]
    fn a_reload_carries_the_time_since_the_machine_was_started_in_microseconds() {
        let micros = || {
            let message = message(Notice::Reloading).unwrap();
            let time = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            time.strip_suffix('\n').unwrap().parse::<i64>().unwrap()
        };
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        let (first, second) = (micros(), micros());
        assert!(first <= second);
        // A machine that was suspended has been up for longer than its clock shows.
        assert!((first as f64) < (seconds + 60.0) * 1e6, "{first} µs, up for {seconds} s");
    }
}
