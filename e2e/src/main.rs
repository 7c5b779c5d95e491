//! Every service in one binary, so that tests can start real processes: `e2e registry --listen 127.0.0.1:0`.

use std::process::ExitCode;

use clap::Parser;
use homeroom::{
    Service,
    config::{Config, ServiceArgs},
    process,
};

/// Runs one service.
#[derive(Debug, Parser)]
enum Args {
    /// The registry
    Registry(Box<registry::Args>),
    /// Log
    Log(logsvc::Args),
    /// Grades
    Grades(grades::Args),
    /// A service with nothing but its health
    Bare {
        /// Its name
        name: String,
        #[command(flatten)]
        service: ServiceArgs,
    },
}

fn main() -> ExitCode {
    match Args::parse() {
        Args::Registry(args) => process::run("registry", args.check(), registry::run),
        Args::Log(args) => process::run("log", args.check(), logsvc::run),
        Args::Grades(args) => process::run("grades", args.check(), grades::run),
        Args::Bare { name, service } => {
            let config = Config::parse(&service, 0);
            process::run(&name, config, async |config: Config, listener, shutdown| {
                Service::new(&name).run(&config, listener, shutdown).await
            })
        }
    }
}
