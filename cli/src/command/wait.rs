//! `wait`: until services are there.

use std::time::Duration;

use homeroom::{discovery::View, model::ServiceName};
use tokio::time::timeout;

use super::why;
use crate::{
    args::{Shared, Target},
    client::Client,
    failure::Failure,
    time,
};

/// How long to wait when nobody says.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// How long asking why a service is missing may take: whoever waits has waited for long already.
const WHY_TIMEOUT: Duration = Duration::from_secs(2);

/// Waits until each of the services has a serving instance, also while the registry is not there yet.
///
/// # Errors
/// [`Failure::Negative`] with a line for each service that has none when the time is up.
pub async fn run(shared: &Shared, services: &[ServiceName]) -> Result<(), Failure> {
    let patience = shared.timeout.unwrap_or(TIMEOUT_DEFAULT);
    let discovery = Client::new(shared).watch(services.to_vec());
    let all = discovery.wait_for(|view| missing(view, services).is_empty());
    if timeout(patience, all).await.is_ok() {
        return Ok(());
    }
    let missing = missing(&discovery.views().borrow(), services);
    let asking = Client::new(&Shared {
        timeout: Some(WHY_TIMEOUT),
        ..shared.clone()
    });
    let mut lines = Vec::new();
    for service in missing {
        let why = why(&asking, service.clone()).await;
        lines.push(format!("waited {} for {service}: {why}", time::span(patience)));
    }
    Err(Failure::Negative(lines.join("\n")))
}

/// The services that have no serving instance, in the order in which they were asked for.
fn missing(view: &View, services: &[ServiceName]) -> Vec<ServiceName> {
    let is_there = |service: &&ServiceName| view.instances().any(|instance| instance.key().service == **service);
    let mut missing: Vec<_> = services.iter().filter(|service| !is_there(service)).cloned().collect();
    missing.dedup();
    missing
}

async fn why(client: &Client, service: ServiceName) -> String {
    let target = Target { service, id: None };
    match why::ask(client, &target).await {
        Ok(report) => report.answer,
        Err(failure) => {
            let (text, _) = failure.report();
            format!("the registry cannot be asked: {}", text.unwrap_or_default())
        }
    }
}
