//! `watch`: every change, as it comes.

use std::time::Duration;

use homeroom::proto::registry::v1::{Instance, InstanceKey, WatchServicesRequest, WatchServicesResponse};
use tokio::time::timeout;

use super::services::state;
use crate::{
    client::Client,
    failure::Failure,
    output::{Cell, Colour, Line, Output},
};

/// The registry sends a heartbeat every five seconds: when three are missing, nothing shown is fresh any more.
const SILENCE_MAX: Duration = Duration::from_secs(15);

/// Follows services until the registry ends it, or nobody reads any more.
///
/// # Errors
/// When the registry cannot be asked, or stops.
pub async fn run(client: &Client, output: &Output, services: Vec<String>) -> Result<(), Failure> {
    let request = WatchServicesRequest {
        services,
        include_all_health: true,
        ..Default::default()
    };
    let mut stream = client.registry().watch_services(request).await?.into_inner();
    let silent = || Failure::Connect(format!("the registry was silent for {SILENCE_MAX:?}"));
    while let Some(message) = timeout(SILENCE_MAX, stream.message()).await.map_err(|_| silent())?? {
        let heartbeat = !message.reset && message.updated.is_empty() && message.removed.is_empty();
        if !heartbeat {
            output.item("homeroom.registry.v1.WatchServicesResponse", &message, lines)?;
        }
    }
    Err(Failure::Server("the registry ended the stream".to_owned()))
}

fn lines(message: &WatchServicesResponse) -> Vec<Line> {
    let time = message.server_time.map(|time| time.to_string()).unwrap_or_default();
    let head = format!("{time}  revision {}", message.revision);
    let reset = message
        .reset
        .then(|| Cell::from("a snapshot follows").within(&head, ""));
    let updated = message.updated.iter().map(|instance| updated(&head, instance));
    let removed = message.removed.iter().map(|key| removed(&head, key));
    reset.into_iter().chain(removed).chain(updated).collect()
}

fn updated(head: &str, instance: &Instance) -> Line {
    let health = instance.health.clone().unwrap_or_default();
    let text = format!("{head}  {}/{}  {}", instance.service, instance.id, instance.address);
    state(&health).within(&text, &health.detail)
}

fn removed(head: &str, key: &InstanceKey) -> Line {
    Cell::coloured("REMOVED", Colour::Bad).within(&format!("{head}  {}/{}", key.service, key.id), "")
}
