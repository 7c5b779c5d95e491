//! The `registry` binary.

use std::process::ExitCode;

use clap::Parser;
use homeroom::process;
use registry::{Args, Config};

fn main() -> ExitCode {
    process::run("registry", Config::try_from(&Args::parse()), registry::run)
}
