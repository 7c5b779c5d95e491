//! `services` and `instances`: who is registered.

use std::time::SystemTime;

use homeroom::proto::registry::v1::{Health, HealthState, Instance, ServiceSummary};

use super::{all_instances, all_services};
use crate::{
    client::Client,
    failure::Failure,
    output::{Cell, Colour, Output},
    time,
};

/// Lists the services.
///
/// # Errors
/// When the registry cannot be asked.
pub async fn services(client: &Client, output: &Output) -> Result<(), Failure> {
    let services = all_services(client).await?;
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
    Ok(output.list(name, &services, ["SERVICE", "SERVING", "REQUIRES"], row)?)
}

/// Lists the instances of a service, or of all.
///
/// # Errors
/// [`Failure::Negative`] when the service that was asked for has none; when the registry cannot be asked.
pub async fn instances(client: &Client, output: &Output, service: Option<String>) -> Result<(), Failure> {
    let instances = all_instances(client, service.as_deref().unwrap_or_default()).await?;
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
            time::age(health.since, now).into(),
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
