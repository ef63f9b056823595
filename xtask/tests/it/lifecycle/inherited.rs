//! Socket activation: a listening socket that somebody else has bound, sd_listen_fds(3).

use std::fs::{self, File};
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket,
};
use nix::unistd::Pid;
use serde_json::json;
use xtask::launch::Server;
use xtask::model::Model;
use xtask::proc;

use super::{
    Caller, Directory, PATIENCE, children, command_in, promises, stop_cleanly, wait_until,
};

promises! {
    an_inherited_socket_is_served_whether_it_blocks_or_not:
        single thread fork prefork prefork_thread;
    what_waits_at_the_end_is_left_to_the_next_server: single thread fork prefork prefork_thread;
    a_socket_that_others_make_non_blocking_costs_no_busy_loop: prefork prefork_thread;
}

/// Moves standard error, which is the socket here, to where systemd puts it.
const PASS_ON: &str = "exec 3<&2 2>/dev/null; export LISTEN_FDS=1 LISTEN_PID=$$";

/// A server that inherits `listener`, and is told of an address that it must not use.
fn command(preparation: &str, model: Model, listener: impl AsFd, arguments: &[&str]) -> Command {
    let copy: OwnedFd = listener.as_fd().try_clone_to_owned().expect("a descriptor is free");
    let mut command = command_in(preparation, model, "unix:/nowhere/at/all", arguments);
    command.stderr(Stdio::from(copy));
    command
}

fn serve_on(model: Model, listener: impl AsFd) -> Server {
    let command = command(PASS_ON, model, listener, &["--workers", "2"]);
    Server::start_command(command).expect("the server starts")
}

fn set_blocking(listener: impl AsFd, blocking: bool) {
    let flags = if blocking { OFlag::empty() } else { OFlag::O_NONBLOCK };
    fcntl(listener, FcntlArg::F_SETFL(flags)).expect("a socket");
}

fn an_inherited_socket_is_served_whether_it_blocks_or_not(model: Model) {
    let directory = Directory::new();
    let path = directory.path().join("socket");
    let mut sockets: Vec<(String, OwnedFd)> = Vec::new();
    // A machine without IPv6 need not keep this promise for it.
    for any_port in ["127.0.0.1:0", "[::1]:0"] {
        if let Ok(listener) = TcpListener::bind(any_port) {
            sockets.push((listener.local_addr().unwrap().to_string(), listener.into()));
        }
    }
    let unix = UnixListener::bind(&path).unwrap();
    sockets.push((format!("unix:{}", path.display()), unix.into()));
    for (address, listener) in &sockets {
        for blocking in [true, false] {
            set_blocking(listener, blocking);
            let mut server = serve_on(model, listener);
            assert_eq!(server.address().to_string(), *address);
            // One after the other, since single serves so.
            Caller::served(&server);
            Caller::served(&server);
            stop_cleanly(&mut server, Signal::SIGTERM);
        }
    }
    assert!(path.exists(), "the file belongs to whoever made it");
}

fn what_waits_at_the_end_is_left_to_the_next_server(model: Model) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut first = serve_on(model, &listener);
    let mut tree = vec![first.pid()];
    if model.has_workers() {
        tree.extend(children(&first, 2));
    }
    // Nobody accepts while it is suspended, so this caller is in the queue when it stops.
    let send_all = |signal| {
        for &pid in &tree {
            kill(Pid::from_raw(pid), signal).expect("it lives");
        }
    };
    send_all(Signal::SIGSTOP);
    wait_until("all to be suspended", || {
        tree.iter().all(|&pid| proc::stat(pid).is_ok_and(|stat| stat.state == 'T'))
    });
    let mut waiting = Caller::connect(&first);
    waiting.send("ping", json!("who is next?"));
    send_all(Signal::SIGTERM);
    // The first one lets the others go on too, so they may have ended already.
    first.signal(Signal::SIGCONT).expect("it lives");
    assert_eq!(first.wait(PATIENCE).expect("it ends").code(), Some(0));

    let _second = serve_on(model, &listener);
    assert_eq!(waiting.receive(), Some(("pong".to_owned(), json!("who is next?"))));
}

/// The worker that comes back from a connection finds that accept(2) does not wait, and must find
/// another way to wait.
fn a_socket_that_others_make_non_blocking_costs_no_busy_loop(model: Model) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let command = command(PASS_ON, model, &listener, &["--workers", "1"]);
    let server = Server::start_command(command).expect("the server starts");
    let worker = children(&server, 1)[0];
    let system_call = || {
        let line = fs::read_to_string(format!("/proc/{worker}/syscall")).unwrap_or_default();
        line.split(' ').next().and_then(|number| number.parse::<i64>().ok())
    };
    wait_until("accept(2)", || matches!(system_call(), Some(libc::SYS_accept4 | libc::SYS_accept)));
    set_blocking(&listener, false);
    for _ in 0..3 {
        Caller::served(&server);
    }
    wait_until("poll(2)", || matches!(system_call(), Some(libc::SYS_poll | libc::SYS_ppoll)));
    Caller::served(&server);
}

#[test]
fn an_inherited_socket_is_not_passed_on_any_further() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = serve_on(Model::Thread, &listener);
    let flags = fs::read_to_string(format!("/proc/{}/fdinfo/3", server.pid())).unwrap();
    let flags = flags.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
    let flags = i32::from_str_radix(flags, 8).unwrap();
    assert_eq!(flags & libc::O_CLOEXEC, libc::O_CLOEXEC, "{flags:o}");
    // No other descriptor keeps the socket open when the server stops listening.
    let open = proc::descriptors(server.pid()).unwrap();
    let socket = &open.iter().find(|(number, _)| *number == 3).expect("descriptor 3").1;
    assert_eq!(open.iter().filter(|(_, target)| target == socket).count(), 1, "{open:?}");
}

#[test]
fn what_is_meant_for_another_process_is_not_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for preparation in [
        "exec 3<&2 2>/dev/null; export LISTEN_FDS=1 LISTEN_PID=1",
        "exec 3<&2 2>/dev/null; export LISTEN_FDS=1",
        "exec 3<&2 2>/dev/null; export LISTEN_PID=$$",
    ] {
        let directory = Directory::new();
        let mut command = command_in(preparation, Model::Thread, &directory.socket(), &[]);
        command.stderr(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())));
        let server = Server::start_command(command).expect("the server starts");
        assert_eq!(server.address().to_string(), directory.socket(), "{preparation}");
    }
}

#[test]
fn what_is_no_listening_stream_socket_is_refused() {
    let directory = Directory::new();
    let stream = SockType::Stream;
    let silent = socket(AddressFamily::Inet, stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let packets = SockType::SeqPacket;
    let packets = socket(AddressFamily::Unix, packets, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let name = UnixAddr::new(&directory.path().join("packets")).unwrap();
    bind(packets.as_raw_fd(), &name).unwrap();
    listen(&packets, Backlog::new(1).unwrap()).unwrap();
    let name = format!("rpc-lifecycle-{}", std::process::id());
    let nameless = SocketAddr::from_abstract_name(name).unwrap();
    let nameless = UnixListener::bind_addr(&nameless).unwrap();
    let datagrams = UnixDatagram::bind(directory.path().join("datagrams")).unwrap();
    for (fd, why) in [
        (OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap()), "not a listening stream socket"),
        (datagrams.into(), "not a listening stream socket"),
        (packets, "not a listening stream socket"),
        (silent, "not a listening stream socket"),
        (nameless.into(), "without a file"),
        (File::open("/dev/null").unwrap().into(), "Socket operation on non-socket"),
    ] {
        refuses("exec 3<&0; export LISTEN_FDS=1 LISTEN_PID=$$", fd, why);
    }
}

/// The variable that an upgraded server has in its environment, and what it starts inherits.
#[test]
fn a_variable_that_is_left_of_an_earlier_upgrade_means_nothing() {
    for descriptor_4 in ["4>&-", "4>/dev/null"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let preparation = format!("{PASS_ON} RPC_STATUS_FD=4; exec {descriptor_4}");
        let command = command(&preparation, Model::Single, listener, &[]);
        let mut server = Server::start_command(command).expect("the server starts");
        Caller::served(&server);
        stop_cleanly(&mut server, Signal::SIGTERM);
    }
}

#[test]
fn variables_that_make_no_sense_are_refused() {
    for (variables, why) in [
        ("LISTEN_FDS=2 LISTEN_PID=$$", "LISTEN_FDS is 2"),
        ("LISTEN_FDS=0 LISTEN_PID=$$", "LISTEN_FDS is 0"),
        ("LISTEN_FDS=-1 LISTEN_PID=$$", "LISTEN_FDS is \"-1\""),
        ("LISTEN_FDS= LISTEN_PID=$$", "LISTEN_FDS is \"\""),
        ("LISTEN_FDS=1 LISTEN_PID=one", "LISTEN_PID is \"one\""),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        refuses(&format!("exec 3<&0; export {variables}"), listener.into(), why);
    }
    let nothing = File::open("/dev/null").unwrap();
    let closed = "exec 3<&-; export LISTEN_FDS=1 LISTEN_PID=$$";
    refuses(closed, nothing.into(), "LISTEN_FDS");
}

fn refuses(preparation: &str, fd: OwnedFd, why: &str) {
    let mut command = command_in(preparation, Model::Thread, "127.0.0.1:0", &[]);
    let output = command.stdin(Stdio::from(fd)).output().expect("the program can be started");
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{preparation}: {error}");
    assert!(error.contains("LISTEN_FDS"), "{preparation}: {error}");
    assert!(error.contains(why), "{preparation}: {error}");
}
