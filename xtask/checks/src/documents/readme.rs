//! What README.md tells a newcomer to run is what is run before a change lands.

use crate::ci;
use crate::violation::Violation;

/// How .ci/run calls the steps.
const CALL: &str = "cargo run --quiet --package xtask-checks -- ci";

/// Checks that README.md names a command that runs the tests, that it is a step of
/// `cargo xtask ci`, and that .ci/run calls these steps.
pub(crate) fn check(readme: &str, script: &str) -> Vec<Violation> {
    let steps: Vec<_> = ci::STEPS.iter().map(ToString::to_string).collect();
    let why = "the command in README.md is the one that has to pass";
    let mut violations = Vec::new();
    let mut names_a_command = false;
    for (index, line) in readme.lines().enumerate() {
        let command = line.strip_prefix("$ ").and_then(|line| line.split('#').next());
        let Some(command) = command.map(str::trim).filter(|it| it.starts_with("cargo test")) else {
            continue;
        };
        names_a_command = true;
        if !steps.iter().any(|step| step == command) {
            let what = format!("`{command}` is no step of `cargo xtask ci`");
            violations.push(Violation::new("README.md", index + 1, what, why));
        }
    }
    if !names_a_command {
        violations.push(Violation::new("README.md", 1, "does not say how to run the tests", why));
    }
    if !script.lines().any(|line| line == CALL) {
        violations.push(Violation::new(".ci/run", 1, format!("does not call `{CALL}`"), why));
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_places(readme: &str, script: &str, expected: &[(&str, usize)]) {
        let found = check(readme, script);
        let places: Vec<_> = found.iter().map(|found| (&*found.file, found.line)).collect();
        assert_eq!(places, expected, "{readme}, {script}");
    }

    #[test]
    fn the_test_command_is_the_one_of_the_checks() {
        check_places("\n$ cargo test --workspace      # the tests\n", CALL, &[]);
        check_places("\n$ cargo test --all\n", CALL, &[("README.md", 2)]);
        check_places("\n$ cargo test --workspace --release\n", CALL, &[("README.md", 2)]);
    }

    #[test]
    fn there_is_a_test_command() {
        check_places("$ cargo xtask demo", CALL, &[("README.md", 1)]);
    }

    #[test]
    fn the_script_calls_the_steps() {
        let script = format!("set -e\n# {CALL}\ncargo test --workspace\n");
        check_places("$ cargo test --workspace", &script, &[(".ci/run", 1)]);
    }
}
