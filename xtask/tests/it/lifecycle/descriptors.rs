//! prefork without descriptors: nobody is lost, and waiting for one costs nothing.

use nix::sys::signal::Signal;
use xtask::model::Model;
use xtask::proc;

use super::refusals::{expect_idle, set_descriptor_limit};
use super::{
    Caller, children, kill_one, promises, serve, serve_logged, status, stop_cleanly,
    wait_for_new_workers, wait_until,
};

promises! {
    who_waits_while_there_are_no_descriptors_is_served_afterwards: prefork prefork_thread;
    a_master_without_descriptors_replaces_workers_once_it_has_some: prefork prefork_thread;
}

/// Fewer than any process here has open: not even what is kept in reserve helps.
const NONE: u32 = 3;
const ENOUGH: u32 = 64;

fn who_waits_while_there_are_no_descriptors_is_served_afterwards(model: Model) {
    let mut server = serve(model, &["--workers", "2"]);
    let workers = children(&server, 2);
    for &worker in &workers {
        set_descriptor_limit(worker, NONE);
        // A call of accept(2) that waits has its descriptor already; being stopped makes it call
        // again.
        kill_one(worker, Signal::SIGSTOP);
        wait_until("the stop of a worker", || proc::stat(worker).expect("it lives").state == 'T');
        let before = status::switches(worker);
        kill_one(worker, Signal::SIGCONT);
        wait_until("a vain attempt to accept", || status::switches(worker) > before);
    }
    // Once with an empty queue, once with one that moves no more.
    expect_idle(&server);
    let mut waiting: Vec<_> = (0..20).map(|_| Caller::connect(&server)).collect();
    waiting.iter_mut().for_each(|caller| caller.send("ping", "here".into()));
    expect_idle(&server);
    workers.iter().for_each(|&worker| set_descriptor_limit(worker, ENOUGH));
    for mut caller in waiting {
        assert_eq!(caller.receive(), Some(("pong".to_owned(), "here".into())));
    }
    assert_eq!(children(&server, 2), workers);
    stop_cleanly(&mut server, Signal::SIGTERM);
}

fn a_master_without_descriptors_replaces_workers_once_it_has_some(model: Model) {
    let (mut server, log) = serve_logged(model, &["--workers", "2"]);
    let workers = children(&server, 2);
    Caller::served(&server);
    set_descriptor_limit(server.pid(), NONE);
    kill_one(workers[0], Signal::SIGKILL);
    log.wait_for("cannot fork a worker, trying again later");
    Caller::served(&server);
    expect_idle(&server);
    assert_eq!(proc::children(server.pid()), workers[1..]);
    set_descriptor_limit(server.pid(), ENOUGH);
    wait_for_new_workers(&server, &workers[..1], 2);
    Caller::served(&server);
    stop_cleanly(&mut server, Signal::SIGTERM);
}
