//! Generates the interface's Rust from its description. No external tool is needed.

fn main() {
    varlink_generator::cargo_build("src/peers.echo.varlink");
}
