//! The `homeroom` binary.

use std::process::ExitCode;

use clap::Parser;
use homeroom_cli::args::Args;

fn main() -> ExitCode {
    homeroom_cli::run(Args::parse())
}
