//! What code may not mention, and where.

use super::repository::TextFile;
use super::rust::mentions;
use super::violation::Violation;

struct Ban {
    paths: &'static [&'static str],
    applies_to: fn(file: &str) -> bool,
    why: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        paths: &["unsafe"],
        applies_to: |file| !MODULES_WITH_UNSAFE.contains(&file),
        why: "only the modules of rpc-core that talk to the kernel may",
    },
    Ban {
        paths: &["thread::sleep"],
        applies_to: |file| is_library(file) || is_xtask(file) && file != MODULE_THAT_SLEEPS,
        why: "wait for an event, not for time to pass",
    },
    Ban {
        paths: &["print!", "println!", "eprint!", "eprintln!", "dbg!"],
        applies_to: is_library,
        why: "a library logs through tracing and never prints",
    },
    Ban {
        paths: &["thread::spawn", "thread::Builder", "thread::scope"],
        applies_to: |file| file.starts_with("crates/rpc-core/src/"),
        why: "rpc-core never starts a thread; a model does",
    },
    Ban {
        paths: &["std::net", "std::os", "std::process", "std::thread", "std::time"],
        applies_to: |file| file.starts_with("crates/rpc-proto/src/"),
        why: "rpc-proto is bytes and types: no socket, no process, no thread, no clock",
    },
];

const MODULES_WITH_UNSAFE: [&str; 4] = [
    "crates/rpc-core/src/process.rs",
    "crates/rpc-core/src/scoreboard.rs",
    "crates/rpc-core/src/shutdown.rs",
    "crates/rpc-core/src/signals.rs",
];

/// It holds the method `sleep`.
const MODULE_THAT_SLEEPS: &str = "xtask/src/methods.rs";

fn is_library(file: &str) -> bool {
    file.starts_with("crates/") && file.contains("/src/")
}

fn is_xtask(file: &str) -> bool {
    file.starts_with("xtask/src/")
}

pub(super) fn check(file: &TextFile) -> Vec<Violation> {
    let mut violations = Vec::new();
    for mention in mentions(&file.text) {
        for ban in BANS.iter().filter(|ban| (ban.applies_to)(&file.path)) {
            for path in ban.paths.iter().filter(|path| mention.contains(path)) {
                let what = format!("mentions `{path}`");
                violations.push(Violation::new(&file.path, mention.line, what, ban.why));
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_lines(path: &str, text: &str, expected: &[usize]) {
        let file = TextFile { path: path.to_owned(), text: text.to_owned() };
        let lines: Vec<_> = check(&file).iter().map(|found| found.line).collect();
        assert_eq!(lines, expected, "{path}: {text}");
    }

    #[test]
    fn unsafe_stands_only_in_the_modules_that_talk_to_the_kernel() {
        let text = "fn f() {\n    unsafe { g() }\n}";
        check_lines("crates/rpc-core/src/acceptor.rs", text, &[2]);
        check_lines("crates/rpc-core/tests/it/main.rs", text, &[2]);
        check_lines("crates/rpc-core/src/process.rs", text, &[]);
        check_lines("crates/rpc-client/src/process.rs", text, &[2]);
        check_lines("xtask/src/log.rs", "#[unsafe(no_mangle)]", &[1]);
        check_lines("xtask/src/log.rs", "#![forbid(unsafe_code)]", &[]);
    }

    #[test]
    fn only_the_method_sleep_sleeps() {
        check_lines("crates/rpc-core/src/acceptor.rs", "thread::sleep(d)", &[1]);
        check_lines("xtask/src/launch.rs", "use std::thread::{self, sleep};", &[1]);
        check_lines("xtask/src/methods.rs", "thread::sleep(d)", &[]);
        check_lines("xtask/src/launch.rs", "// not thread::sleep", &[]);
    }

    #[test]
    fn libraries_do_not_print() {
        let text = "println!();\neprintln!();\nprint!();\neprint!();\ndbg!(x);\nwriteln!(f);";
        check_lines("crates/rpc-client/src/client.rs", text, &[1, 2, 3, 4, 5]);
        check_lines("crates/rpc-client/examples/ping.rs", text, &[]);
        check_lines("xtask/src/call.rs", text, &[]);
    }

    #[test]
    fn core_starts_no_threads() {
        let text = "thread::spawn(f);\nstd::thread::Builder::new();\nthread::scope(f);";
        check_lines("crates/rpc-core/src/service.rs", text, &[1, 2, 3]);
        check_lines("crates/rpc-server-thread/src/lib.rs", text, &[]);
        check_lines("crates/rpc-core/tests/it/main.rs", text, &[]);
    }

    #[test]
    fn proto_knows_bytes_and_types_only() {
        let text = "use std::net::IpAddr;\nuse std::{\n    io, os::fd,\n    time::Instant};\n\
            std::process::exit(1);\nstd::thread::yield_now();\nuse std::io::Read;";
        check_lines("crates/rpc-proto/src/frame.rs", text, &[1, 3, 4, 5, 6]);
        check_lines("crates/rpc-client/src/client.rs", text, &[]);
    }
}
