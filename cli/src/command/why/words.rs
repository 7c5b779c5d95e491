//! The words of `why`. Pure.

use std::time::Duration;

use homeroom::proto::registry::v1::{
    Change, ChangeCause, Health, HealthCheckMode, HealthReason, HealthState, Instance, ServiceSummary,
};

use crate::time;

/// What keeps an instance from its traffic, or gives it: follows "gets no traffic: ".
pub(super) fn cause(instance: &Instance) -> String {
    let health = instance.health.clone().unwrap_or_default();
    let at = &instance.address;
    match health.reason() {
        HealthReason::Unspecified => state(&health).to_owned(),
        HealthReason::NotProbed => "no probe of it has ended yet".to_owned(),
        HealthReason::Serving => "it answers SERVING".to_owned(),
        HealthReason::NotServing => "it answers NOT_SERVING".to_owned(),
        HealthReason::Refused => format!("{at} refuses or resets connections, so nothing listens there"),
        HealthReason::Timeout => format!("nothing answers at {at}, or it cannot be reached or found"),
        HealthReason::NotHttp2 => format!("what answers at {at} does not speak HTTP/2, so it is no plain gRPC server"),
        HealthReason::NoHealthService => {
            format!("the server at {at} has no grpc.health.v1.Health that could be asked")
        }
        HealthReason::HealthNameUnknown => {
            let name = instance.health_check.clone().unwrap_or_default().service;
            format!("the health service at {at} does not know the name `{name}`")
        }
        HealthReason::Error => format!("the health service at {at} answers with an error"),
        HealthReason::Draining => "it is being drained before it leaves".to_owned(),
        HealthReason::TlsFailed => format!("the TLS handshake with {at} fails"),
        HealthReason::LeaseHeld => "it holds its lease".to_owned(),
        HealthReason::LeaseExpired => "it did not renew its lease in time".to_owned(),
        HealthReason::ProbeNotAllowed => {
            format!(
                "the registry may not probe {at} for whoever registered it (its --probe-allow would have to say so)"
            )
        }
    }
}

fn state(health: &Health) -> &'static str {
    match health.state() {
        HealthState::Unspecified => "it is in a state that is not known here",
        HealthState::Unknown => "it is not known yet whether it serves",
        HealthState::Serving => "it is serving",
        HealthState::NotServing => "it is not serving",
        HealthState::Unreachable => "it is unreachable",
        HealthState::Draining => "it is being drained before it leaves",
    }
}

/// How an instance was removed: follows the instance's name.
pub(super) fn removal(change: &Change, now: std::time::SystemTime) -> String {
    let when = time::with_age(change.time, now);
    let actor = &change.actor;
    match change.cause() {
        ChangeCause::Deregistered => format!("was deregistered by {actor} at {when}"),
        ChangeCause::Evicted => format!("was evicted by the registry at {when}: {}", change.detail),
        _ => format!("was removed by {actor} at {when}: {}", change.detail),
    }
}

/// How the registry learns of an instance's health.
pub(super) fn check(instance: &Instance) -> Option<String> {
    let check = instance.health_check.as_ref()?;
    if check.mode() == HealthCheckMode::Lease {
        let ttl = time::span(duration(check.ttl.as_ref())?);
        return Some(format!("it is not probed: it renews a lease of {ttl} itself"));
    }
    let interval = time::span(duration(check.interval.as_ref())?);
    Some(format!("the registry asks {} every {interval}", instance.address))
}

/// When an instance that stays unreachable is evicted.
pub(super) fn eviction(instance: &Instance, now: std::time::SystemTime) -> Option<String> {
    let health = instance
        .health
        .as_ref()
        .filter(|health| health.state() == HealthState::Unreachable)?;
    let since = std::time::SystemTime::try_from(health.since?).ok()?;
    let after = duration(instance.health_check.as_ref()?.deregister_after.as_ref())?;
    let left = (since + after).duration_since(now).unwrap_or_default();
    Some(format!(
        "it is evicted in {} unless it comes back",
        time::span(Duration::from_secs(left.as_secs()))
    ))
}

fn duration(message: Option<&prost_types::Duration>) -> Option<Duration> {
    Duration::try_from(*message?).ok()
}

/// How a required service is, and whether it is there.
pub(super) fn requirement(name: &str, services: &[ServiceSummary]) -> (String, bool) {
    match services.iter().find(|service| service.service == name) {
        None => (format!("it requires {name}, which nobody has registered"), false),
        Some(service) if service.serving_instances == 0 => {
            let all = service.instances;
            (
                format!("it requires {name}, which has no serving instance (0 of {all})"),
                false,
            )
        }
        Some(service) => {
            let (serving, all) = (service.serving_instances, service.instances);
            (
                format!("it requires {name}, which is there ({serving} of {all} serving)"),
                true,
            )
        }
    }
}

/// A name of which `name` may be a misspelling: one edit away, or two of a long one.
pub(super) fn similar<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let most = if name.chars().count() > 5 { 2 } else { 1 };
    let near = names.map(|other| (edits(name, other), other));
    near.filter(|(edits, _)| *edits <= most).min().map(|(_, name)| name)
}

/// The Levenshtein distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<_> = b.chars().collect();
    let mut row: Vec<_> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_recognised() {
        let names = ["grades", "log", "mail"];
        assert_eq!(similar("grade", names.into_iter()), Some("grades"));
        assert_eq!(similar("garedes", names.into_iter()), Some("grades"));
        assert_eq!(similar("logs", names.into_iter()), Some("log"));
        assert_eq!(similar("students", names.into_iter()), None);
        assert_eq!(similar("x", names.into_iter()), None);
    }
}
