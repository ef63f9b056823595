//! What a server process does before it serves: its socket, its pidfile, its user.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use nix::sys::stat::{Mode, umask};
use rpc_core::{Acceptor, Address};
use rpc_daemon::{Account, Notice, PidFile, inherited_socket, notify};

/// The options of the process, which are the same for every model.
#[derive(clap::Args, Debug)]
pub(super) struct StartOptions {
    /// The permissions of a Unix socket's file, in octal; to connect needs the right to write [default: 0600]
    #[arg(long, value_name = "MODE", value_parser = permissions)]
    socket_mode: Option<u32>,
    /// Serve only this user on a Unix socket, by number; may be given several times
    #[arg(long, value_name = "UID")]
    allow_uid: Vec<u32>,
    /// Keep the process id in this file, which is locked until the server ends
    #[arg(long, value_name = "PATH")]
    pid_file: Option<PathBuf>,
    /// Become this user, by name or number, once the socket is bound
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Become one of this group instead of the user's own
    #[arg(long, value_name = "GROUP", requires = "user")]
    group: Option<String>,
    /// The permissions that new files do not get, in octal, such as 027
    #[arg(long, value_name = "MASK", value_parser = permissions)]
    umask: Option<u32>,
}

/// A mode or a mask: nine bits, octal as for chmod(1).
fn permissions(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(bits) if bits <= 0o777 => Ok(bits),
        _ => Err("expected octal digits, at most 0777".to_owned()),
    }
}

impl StartOptions {
    /// Takes or binds the socket, creates the pidfile, and becomes the user, in this order: the
    /// first two may need rights that are given up by the last. The pidfile is to be kept until
    /// the server has ended.
    ///
    /// # Errors
    ///
    /// When one of these fails. The process should end then.
    pub(super) fn start(&self, address: &Address) -> anyhow::Result<(Acceptor, Option<PidFile>)> {
        if let Some(mask) = self.umask {
            umask(Mode::from_bits_truncate(mask));
        }
        let find = |user: &String| Account::find(user, self.group.as_deref());
        let account = self.user.as_ref().map(find).transpose()?;
        let mut acceptor = self.listen(address)?.stop_on_signals()?;
        if !self.allow_uid.is_empty() {
            if !matches!(acceptor.address(), Address::Unix(_)) {
                bail!("--allow-uid is for Unix sockets: nobody knows the user of a TCP peer");
            }
            acceptor = acceptor.with_allowed_uids(self.allow_uid.iter().copied());
        }
        let pid_file = self.pid_file.as_ref().map(PidFile::create).transpose()?;
        if let Some(account) = account {
            acceptor.change_owner(account.uid(), account.gid())?;
            account.assume().context("cannot drop privileges")?;
        }
        let acceptor =
            acceptor.on_accepting(|| notify(Notice::Ready)).on_closing(|| notify(Notice::Stopping));
        Ok((acceptor, pid_file))
    }

    fn listen(&self, address: &Address) -> anyhow::Result<Acceptor> {
        let inherited = inherited_socket().context("cannot take what LISTEN_FDS passes on")?;
        if let Some(socket) = inherited {
            tracing::info!("listening on the socket that was passed on; its mode stays as it is");
            let acceptor = Acceptor::from_socket(socket);
            return acceptor.context("cannot listen on what LISTEN_FDS passes on");
        }
        Ok(match self.socket_mode {
            Some(mode) => Acceptor::bind_with_mode(address, mode)?,
            None => Acceptor::bind(address)?,
        })
    }
}
