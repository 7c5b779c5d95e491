//! Log as a service.

use std::net::{IpAddr, SocketAddr};

use homeroom::{
    Service, config::Config, listener::Placement, model::Address, proto::log::v1::in_place::log_server::LogServer,
    server::ServeError, shutdown::Shutdown,
};
use tokio::net::TcpListener;

use crate::{
    config::LogConfig,
    error::Error,
    grpc::{
        LogApi,
        otlp::{Export, Logs, Metrics, Traces},
    },
};

/// Why Log could not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The log cannot be opened: mend the data directory, or name another.
    #[error("{0}")]
    Store(#[from] Error),
    /// What is forwarded would come back, and be forwarded again: name another backend.
    #[error("--forward `{0}` is this Log itself")]
    ForwardsToItself(Address),
    /// It cannot be served.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Serves Log until `shutdown`.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: LogConfig, listener: TcpListener, shutdown: Shutdown) -> Result<(), RunError> {
    let (data_dir, settings, service) = (&config.storing.data_dir, config.settings, &config.storing.service);
    let listens = listener.local_addr().unwrap_or(service.listen);
    if let Some(endpoint) = settings.forward.as_ref().filter(|to| is_self(to, listens, service)) {
        return Err(RunError::ForwardsToItself(endpoint.clone()));
    }
    let mut log = LogApi::open(data_dir, &settings.store, shutdown.clone()).await?;
    let mut server = Service::new("log").placement(Placement::ThreadPerCore);
    let mut forward = None;
    if let Some(endpoint) = settings.forward {
        let (position, work) = log.forward(data_dir, endpoint).await;
        server = server.alongside(work);
        forward = Some(position);
    }
    log.tell(server.metrics());
    let server = server
        .add_service(LogServer::new(log.clone()))
        .add_service(Export::<Logs>::new(log.clone()))
        .add_service(Export::<Traces>::new(log.clone()))
        .add_service(Export::<Metrics>::new(log.clone()));
    let served = server.run(service, listener, shutdown).await;
    if let Some(position) = forward {
        position.save().await;
    }
    log.close().await;
    Ok(served?)
}

/// Whether an address is that of this instance, as far as its text tells.
fn is_self(address: &Address, listens: SocketAddr, config: &Config) -> bool {
    let Some((host, port)) = address.as_str().rsplit_once(':') else {
        return false;
    };
    let is_here = |ip: IpAddr| ip == listens.ip() || (ip.is_loopback() && listens.ip().is_unspecified());
    let ip = match host.trim_matches(['[', ']']) {
        "localhost" => Ok(IpAddr::from([127, 0, 0, 1])),
        host => host.parse(),
    };
    let is_listener = port.parse() == Ok(listens.port()) && ip.is_ok_and(is_here);
    is_listener || config.advertise.as_ref() == Some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Args;
    use clap::Parser;

    fn config(flags: &[&str]) -> LogConfig {
        let args = Args::try_parse_from(["logsvc"].iter().chain(flags));
        args.expect("valid flags").check().expect("valid values")
    }

    #[test]
    fn an_instance_knows_its_own_addresses() {
        let config = config(&["--advertise=log.internal:9"]);
        let is_own = |address: &str, listens: &str| {
            let listens = listens.parse().expect("a socket address");
            is_self(&address.parse().expect("an address"), listens, &config.storing.service)
        };
        for (address, listens) in [
            ("127.0.0.1:3001", "127.0.0.1:3001"),
            ("localhost:3001", "127.0.0.1:3001"),
            ("localhost:3001", "0.0.0.0:3001"),
            ("[::1]:3001", "[::]:3001"),
            ("10.0.0.7:3001", "10.0.0.7:3001"),
            ("log.internal:9", "10.0.0.7:3001"),
        ] {
            assert!(is_own(address, listens), "{address} at {listens}");
        }
        for (address, listens) in [
            ("127.0.0.1:4317", "127.0.0.1:3001"),
            ("localhost:3001", "10.0.0.7:3001"),
            ("10.0.0.8:3001", "10.0.0.7:3001"),
            ("other.internal:3001", "127.0.0.1:3001"),
        ] {
            assert!(!is_own(address, listens), "{address} at {listens}");
        }
    }

    #[tokio::test]
    async fn a_log_that_would_forward_to_itself_does_not_start() {
        let listener = homeroom::server::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = listener.local_addr().expect("the socket is bound");
        let config = config(&[&format!("--forward={address}")]);
        let end = run(config, listener, Shutdown::new()).await;
        assert!(matches!(end, Err(RunError::ForwardsToItself(_))));
    }
}
