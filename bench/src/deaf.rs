//! Watchers that never read what they are told.

use anyhow::{Context, Result, ensure};
use homeroom::proto::registry::v1::{GetStatusRequest, registry_client::RegistryClient};
use tokio::time::{Duration, Instant, sleep};

use crate::{peer::Server, process::PATIENCE, wire::Connection};

/// How often the registry is asked how many it has.
const POLL: Duration = Duration::from_millis(20);

/// Connections with watches on them, of which nothing is read. They go when this is dropped.
pub(crate) struct Deaf {
    _connections: Vec<Connection>,
}

impl Deaf {
    /// Opens so many watches of a service, and waits until the registry has them besides those that it had.
    pub(crate) async fn open(server: &Server, of: usize, count: usize, connections: usize) -> Result<Self> {
        let before = watchers(server).await?;
        let mut deaf = Vec::with_capacity(connections);
        for number in 0..connections {
            let mut watch = server.watch(of);
            let mut connection = Connection::open(server.address, watch.path).await?;
            for _ in 0..count / connections + usize::from(number < count % connections) {
                connection.call(watch.requests.next(), true);
            }
            connection.flush().await?;
            deaf.push(connection);
        }
        let (started, all) = (Instant::now(), before + u32::try_from(count)?);
        while watchers(server).await? < all {
            ensure!(
                started.elapsed() < PATIENCE,
                "the registry has not taken all watchers that do not read"
            );
            sleep(POLL).await;
        }
        Ok(Self { _connections: deaf })
    }
}

async fn watchers(server: &Server) -> Result<u32> {
    let status = RegistryClient::new(server.channel())
        .get_status(GetStatusRequest {})
        .await;
    Ok(status
        .context("the registry does not tell its status")?
        .into_inner()
        .watchers)
}
