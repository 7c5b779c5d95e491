//! The `bench` binary: `cargo run --release -p bench -- registry`.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    bench::run(bench::Args::parse())
}
