//! The `registry` binary.

use std::process::ExitCode;

use clap::Parser;
use homeroom::process;
use registry::Args;

fn main() -> ExitCode {
    process::run("registry", Args::parse().check(), registry::run)
}
