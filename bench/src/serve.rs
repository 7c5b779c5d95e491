//! The processes that a run starts from this same program.

use std::{net::SocketAddr, process::ExitCode};

use anyhow::Result;
use homeroom::{
    Service,
    config::{Config, ServiceArgs},
    health::health,
    listener::{self, Limits},
    process,
    shutdown::Shutdown,
};
use tonic::service::Routes;

use crate::{bare, log::discard};

/// A process of a run.
#[derive(Debug, clap::Subcommand)]
pub enum Role {
    /// The bare tonic server
    Bare {
        /// Where to listen
        #[arg(long)]
        listen: SocketAddr,
    },
    /// A service with nothing but its health, to be killed
    Instance {
        /// Its name
        name: String,
        /// Where it listens, and its registry
        #[command(flatten)]
        service: Box<ServiceArgs>,
    },
    /// A server that answers probes for every address of 127.0.0.0/8
    Probed {
        /// Where to listen
        #[arg(long)]
        listen: SocketAddr,
    },
    /// A collector of OpenTelemetry that keeps nothing
    Discard {
        /// Where to listen
        #[arg(long)]
        listen: SocketAddr,
    },
    /// Log, as its own binary runs it: for tests, which have no other binary
    Log(Box<logsvc::Args>),
    /// The registry, as its own binary runs it: for tests, which have no other binary
    Registry(Box<registry::Args>),
}

/// Runs a process until it is killed.
pub fn run(role: Role) -> ExitCode {
    let served = match role {
        Role::Bare { listen } => process::block_on(bare::serve(listen)),
        Role::Probed { listen } => process::block_on(probed(listen)),
        Role::Instance { name, service } => {
            let config = Config::parse(&service, 0);
            return process::run(&name, config, async |config: Config, listener, shutdown| {
                Service::new(&name).run(&config, listener, shutdown).await
            });
        }
        Role::Discard { listen } => process::block_on(discard::serve(listen)),
        Role::Log(args) => return process::run("log", args.check(), logsvc::run),
        Role::Registry(args) => return process::run("registry", args.check(), registry::run),
    };
    match served.map_err(anyhow::Error::msg).and_then(|served| served) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            process::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn probed(listen: SocketAddr) -> Result<()> {
    let listener = listener::bind(listen)?;
    crate::process::say_listening(listener.local_addr()?);
    let (reporter, health) = health(&[], Shutdown::new());
    reporter.set_serving(true);
    let never = std::future::pending();
    listener::serve(listener, Routes::new(health), Limits::default(), Shutdown::new(), never).await;
    Ok(())
}
