//! What a service manager is told: sd_notify(3).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Stdio;

use nix::sys::signal::Signal;
use xtask::launch::Server;
use xtask::model::Model;

use super::{Caller, Directory, PATIENCE, command_in, promises, stop_cleanly};

promises! {
    the_manager_is_told_of_the_start_and_of_the_stop: single thread fork prefork prefork_thread;
    the_manager_is_told_of_a_reload: prefork prefork_thread;
    a_manager_that_cannot_be_told_changes_nothing: single thread fork prefork prefork_thread;
}

fn serve_under(manager: &str, model: Model) -> Server {
    let mut command = command_in("", model, "127.0.0.1:0", &[]);
    command.env("NOTIFY_SOCKET", manager).stderr(Stdio::null());
    Server::start_command(command).expect("the server starts")
}

fn the_manager_is_told_of_the_start_and_of_the_stop(model: Model) {
    let directory = Directory::new();
    let path = directory.path().join("manager");
    check_is_told(&UnixDatagram::bind(&path).unwrap(), &path.display().to_string(), model);

    let name = format!("rpc-manager-{}-{model}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    check_is_told(&UnixDatagram::bind_addr(&address).unwrap(), &format!("@{name}"), model);
}

fn check_is_told(manager: &UnixDatagram, name: &str, model: Model) {
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut message = [0; 100];
        let len = manager.recv(&mut message).expect("the manager is told");
        String::from_utf8_lossy(&message[..len]).into_owned()
    };
    let mut server = serve_under(name, model);
    assert_eq!(next(), "READY=1\n");
    // Serving, and the ends of children, are nothing to tell.
    Caller::served(&server);
    Caller::served(&server);
    stop_cleanly(&mut server, Signal::SIGTERM);
    assert_eq!(next(), "STOPPING=1\n");
    manager.set_nonblocking(true).unwrap();
    assert!(manager.recv(&mut [0; 100]).is_err(), "nothing else was said");
}

fn the_manager_is_told_of_a_reload(model: Model) {
    let directory = Directory::new();
    let path = directory.path().join("manager");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut message = [0; 100];
        let len = manager.recv(&mut message).expect("the manager is told");
        String::from_utf8_lossy(&message[..len]).into_owned()
    };
    let server = serve_under(&path.display().to_string(), model);
    assert_eq!(next(), "READY=1\n");
    server.signal(Signal::SIGHUP).expect("the server lives");
    let reloading = next();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(next(), "READY=1\n");
}

fn a_manager_that_cannot_be_told_changes_nothing(model: Model) {
    let directory = Directory::new();
    let full = directory.path().join("full");
    let _manager = full_socket(&full);
    let gone = directory.path().join("gone");
    for name in [&*full.display().to_string(), &gone.display().to_string(), "", "@", "vsock:2:1"] {
        let mut server = serve_under(name, model);
        Caller::served(&server);
        stop_cleanly(&mut server, Signal::SIGTERM);
    }
}

/// A socket whose queue takes no more, and whose owner does not read.
fn full_socket(path: &std::path::Path) -> UnixDatagram {
    let manager = UnixDatagram::bind(path).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"X=1\n", path).is_ok() {}
    manager
}
