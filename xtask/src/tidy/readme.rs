//! What README.md tells a newcomer to run is what is run before a change lands.

use super::Violation;
use crate::ci;

const FILE: &str = "README.md";

/// Checks that README.md names a command that runs the tests, and that .ci/run runs the same one.
pub(super) fn check(readme: &str, script: &str) -> Vec<Violation> {
    let steps: Vec<_> = ci::steps(script).collect();
    let commands: Vec<_> = readme
        .lines()
        .enumerate()
        .filter_map(|(index, line)| {
            let command = line.strip_prefix("$ ")?.split('#').next()?.trim();
            command.starts_with("cargo test").then_some((index + 1, command))
        })
        .collect();

    let why = "the command in README.md is the one that has to pass";
    let unknown = commands.iter().filter(|(_, command)| !steps.contains(command));
    let unknown = unknown.map(|(line, command)| {
        Violation::new(FILE, *line, format!("`{command}` is no step of .ci/run"), why)
    });
    let mut violations: Vec<_> = unknown.collect();
    if commands.is_empty() {
        violations.push(Violation::new(FILE, 1, "does not say how to run the tests", why));
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_lines(readme: &str, expected: &[usize]) {
        let script = "set -e\n# cargo test --all\ncargo test --workspace\n";
        let lines: Vec<_> = check(readme, script).iter().map(|found| found.line).collect();
        assert_eq!(lines, expected, "{readme}");
    }

    #[test]
    fn the_test_command_is_the_one_of_the_checks() {
        check_lines("\n$ cargo test --workspace      # the tests\n", &[]);
        check_lines("\n$ cargo test --all\n", &[2]);
        check_lines("\n$ cargo test --workspace --release\n", &[2]);
    }

    #[test]
    fn there_is_a_test_command() {
        check_lines("$ cargo xtask demo", &[1]);
    }
}
