//! System calls that a filter forbids (seccomp(2)), as containers and service managers have them.

use std::collections::BTreeMap;
use std::env::consts::ARCH;
use std::process::Stdio;
use std::thread;

use nix::libc;
use nix::sys::signal::Signal;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use xtask::model::Model;

use super::{Caller, command_in, promises, serve, stop_cleanly};

promises! {
    a_server_whose_children_could_not_be_watched_does_not_start: fork prefork prefork_thread;
    a_server_without_children_does_without: single thread;
}

/// What fork and prefork need, and what they call it.
const NEEDED: [(libc::c_long, &str); 2] = [
    (libc::SYS_pidfd_open, "cannot use pidfd_open(2)"),
    (libc::SYS_prctl, "cannot use prctl(2), PR_SET_PDEATHSIG"),
];

/// Does `work` in a thread whose processes are refused this system call.
fn with_forbidden<T: Send>(call: libc::c_long, work: impl FnOnce() -> T + Send) -> T {
    let forbid = || {
        let refusal = SeccompAction::Errno(libc::EPERM as u32);
        let rules = BTreeMap::from([(call, Vec::new())]);
        let architecture = ARCH.try_into().expect("a known architecture");
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, refusal, architecture);
        let program: BpfProgram = filter.and_then(SeccompFilter::try_into).expect("a filter");
        apply_filter(&program).expect("everybody may restrict himself");
    };
    let in_thread = || {
        forbid();
        work()
    };
    thread::scope(|scope| scope.spawn(in_thread).join().expect("the test has not failed"))
}

fn a_server_whose_children_could_not_be_watched_does_not_start(model: Model) {
    for (call, words) in NEEDED {
        let output = with_forbidden(call, || {
            let mut command = command_in("", model, "127.0.0.1:0", &[]);
            command.stdin(Stdio::null()).output().expect("the program can be started")
        });
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains(words), "{error}");
        assert!(error.contains("Operation not permitted"), "{error}");
    }
}

fn a_server_without_children_does_without(model: Model) {
    for (call, _) in NEEDED {
        with_forbidden(call, || {
            let mut server = serve(model, &[]);
            Caller::served(&server);
            stop_cleanly(&mut server, Signal::SIGTERM);
        });
    }
}
