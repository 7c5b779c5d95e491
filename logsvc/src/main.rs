//! The `logsvc` binary.

use std::process::ExitCode;

use clap::Parser;
use homeroom::process;
use logsvc::Args;

fn main() -> ExitCode {
    process::run("log", Args::parse().check(), logsvc::run)
}
