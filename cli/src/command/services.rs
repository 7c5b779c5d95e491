//! `services` and `instances`: who is registered.

use std::time::SystemTime;

use homeroom::proto::registry::v1::{
    Health, HealthState, Instance, ListInstancesRequest, ListServicesRequest, ServiceSummary,
};

use super::all_pages;
use crate::{
    client::Client,
    failure::Failure,
    output::{Cell, Colour, Output},
};

/// Lists the services.
///
/// # Errors
/// When the registry cannot be asked.
pub async fn services(client: &Client, output: &Output) -> Result<(), Failure> {
    let services = all_pages(|page_token| async {
        let request = client.request(ListServicesRequest {
            page_token,
            page_size: 0,
        });
        let page = client.registry().list_services(request).await?.into_inner();
        Ok((page.services, page.next_page_token))
    });
    let row = |service: &ServiceSummary| {
        let all = service.serving_instances == service.instances;
        let serving = format!("{}/{}", service.serving_instances, service.instances);
        [
            service.service.clone().into(),
            Cell::coloured(serving, if all { Colour::Good } else { Colour::Bad }),
            service.required_services.join(", ").into(),
        ]
    };
    let name = "homeroom.registry.v1.ServiceSummary";
    Ok(output.list(name, &services.await?, ["SERVICE", "SERVING", "REQUIRES"], row)?)
}

/// Lists the instances of a service, or of all.
///
/// # Errors
/// [`Failure::Negative`] when the service that was asked for has none; when the registry cannot be asked.
pub async fn instances(client: &Client, output: &Output, service: Option<String>) -> Result<(), Failure> {
    let instances = all_pages(|page_token| async {
        let request = client.request(ListInstancesRequest {
            service: service.clone().unwrap_or_default(),
            include_all_health: true,
            page_token,
            page_size: 0,
        });
        let page = client.registry().list_instances(request).await?.into_inner();
        Ok((page.instances, page.next_page_token))
    });
    let instances = instances.await?;
    if let (Some(service), true) = (service, instances.is_empty()) {
        return Err(Failure::Negative(format!("`{service}` has no instances")));
    }
    let head = ["SERVICE", "ID", "ADDRESS", "STATE", "FOR", "WEIGHT", "ZONE", "REASON"];
    let now = SystemTime::now();
    let row = |instance: &Instance| {
        let health = instance.health.clone().unwrap_or_default();
        [
            instance.service.clone().into(),
            instance.id.clone().into(),
            instance.address.clone().into(),
            state(&health),
            age(&health, now).into(),
            instance.weight.unwrap_or_default().to_string().into(),
            instance.zone.clone().into(),
            health.detail.into(),
        ]
    };
    Ok(output.list("homeroom.registry.v1.Instance", &instances, head, row)?)
}

/// The state of an instance's health, coloured.
pub(super) fn state(health: &Health) -> Cell {
    let name = health.state().as_str_name().trim_start_matches("HEALTH_STATE_");
    let name = format!("{name}{}", if health.suspect { "?" } else { "" });
    let colour = match health.state() {
        HealthState::Serving if health.suspect => Colour::Doubtful,
        HealthState::Serving => Colour::Good,
        HealthState::Unspecified | HealthState::Unknown | HealthState::Draining => Colour::Doubtful,
        HealthState::NotServing | HealthState::Unreachable => Colour::Bad,
    };
    Cell::coloured(name, colour)
}

/// How long the state has lasted, in its largest unit.
fn age(health: &Health, now: SystemTime) -> String {
    let since = health.since.and_then(|since| SystemTime::try_from(since).ok());
    let seconds = since
        .and_then(|since| now.duration_since(since).ok())
        .unwrap_or_default()
        .as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}
