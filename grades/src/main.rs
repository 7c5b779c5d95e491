//! The `grades` binary.

use std::process::ExitCode;

use clap::Parser;
use grades::Args;
use homeroom::process;

fn main() -> ExitCode {
    process::run("grades", Args::parse().check(), grades::run)
}
