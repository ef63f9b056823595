//! A server that a service manager starts: an inherited or a Unix socket, a pidfile, an ordinary
//! user, and notices that it is ready and that it stops.
//!
//! `cargo run --package rpc-server-prefork --example service -- DIRECTORY USER` keeps its socket
//! and its pidfile in that directory. As any other user than root, USER is your own.
//! SIGTERM and SIGINT (Ctrl-C) stop it, SIGHUP reloads it, SIGUSR2 upgrades it.

use std::env;
use std::error::Error;

use rpc_daemon::{Account, Notice, PidFile, inherited_socket, notify};
use rpc_server_prefork::{Acceptor, Address, Config, Method, Registry, Service};

const PING: Method<String, String> = Method::new("ping", "pong");

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let (Some(directory), Some(user)) = (arguments.next(), arguments.next()) else {
        return Err("usage: service DIRECTORY USER".into());
    };
    let account = Account::find(&user, None)?;

    // Binding and the pidfile may need the privileges that `assume` drops.
    let acceptor = match inherited_socket()? {
        Some(socket) => Acceptor::from_socket(socket)?,
        None => Acceptor::bind(&Address::unix(format!("{directory}/ping.sock")))?,
    };
    let pid_file = PidFile::create(format!("{directory}/ping.pid"))?;
    acceptor.change_owner(account.uid(), account.gid())?;
    account.assume()?;

    let mut registry = Registry::new();
    registry.register(PING, |text, _ctx| Ok(text))?;
    let acceptor = acceptor
        .stop_on_signals()?
        .on_accepting(|| notify(Notice::Ready))
        .on_closing(|| notify(Notice::Stopping));
    Config::new().pid_file(&pid_file).serve(acceptor, &Service::new(registry))?;
    Ok(())
}
