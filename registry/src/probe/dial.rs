//! How a place is dialled: who may be, and how many at once.

use std::{net::SocketAddr, time::Duration};

use homeroom::transport::{ConnectError, dial_hosts};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::{Ground, finding::Finding, place::Place, targets::NoHost};

/// How long a dial may take before the next one begins beside it.
const TURN_MAX: Duration = Duration::from_millis(250);

/// Why there is no connection.
pub(super) enum NoConnection {
    /// The place does not want one, or does not answer.
    Found(Finding),
    /// This process cannot open one.
    Unable(ConnectError),
}

/// Opens a connection to the hosts that an address leads to now, if they may be dialled.
pub(super) async fn connect(ground: &Ground, place: &Place, patience: Duration) -> Result<TcpStream, NoConnection> {
    let (address, registrant) = &place.key;
    let hosts = match timeout(patience, ground.targets.resolve(address, *registrant)).await {
        Ok(Ok(hosts)) => hosts,
        Ok(Err(NoHost::NotAllowed(host))) => return Err(NoConnection::Found(Finding::NotAllowed(host))),
        Ok(Err(NoHost::NotFound(cause))) => return Err(NoConnection::Found(Finding::Silent(cause))),
        Err(_) => {
            let cause = format!("its name was not found in {patience:?}");
            return Err(NoConnection::Found(Finding::Silent(cause)));
        }
    };
    dial(ground, &hosts, patience).await.map_err(|error| match error {
        ConnectError::Refused(cause) => NoConnection::Found(Finding::Refused(cause)),
        ConnectError::Silent(cause) => NoConnection::Found(Finding::Silent(cause)),
        ConnectError::Local(_) => NoConnection::Unable(error),
    })
}

/// Opens a connection. Waits for its turn to begin; a host that has not answered soon gives its turn to the next, so that
/// many silent hosts hold up nobody.
async fn dial(ground: &Ground, hosts: &[SocketAddr], patience: Duration) -> Result<TcpStream, ConnectError> {
    let turn = ground.dials.acquire().await.expect("the semaphore is never closed");
    let mut dialling = std::pin::pin!(dial_hosts(hosts, patience));
    tokio::select! {
        biased;
        stream = &mut dialling => return stream,
        () = sleep(TURN_MAX) => drop(turn),
    }
    dialling.await
}
