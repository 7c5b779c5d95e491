//! Between the generated messages and the model. The bytes of what a registry tells are made by `encode`.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    Address, Cause, Health, HealthCheck, HealthCheckMode, HealthReason, HealthState, Incarnation, Instance, InstanceId,
    InstanceKey, InvalidField, Metadata, Registration, Revision, ServiceName,
};
use crate::proto::registry::v1 as proto;

impl TryFrom<proto::Instance> for Registration {
    type Error = InvalidField;

    /// Reads what a registrant may say; what is output only is ignored.
    fn try_from(message: proto::Instance) -> Result<Self, InvalidField> {
        let service = ServiceName::parse("service", &message.service)?;
        let address = Address::parse("address", &message.address)?;
        let id = match message.id.as_str() {
            "" => InstanceId::parse("id", address.as_str())?,
            id => InstanceId::parse("id", id)?,
        };
        let weight = message.weight.unwrap_or(Self::WEIGHT_DEFAULT);
        if !(1..=Self::WEIGHT_MAX).contains(&weight) {
            return Err(InvalidField::new(
                "weight",
                format!("must be 1 to {}", Self::WEIGHT_MAX),
            ));
        }
        if message.required_services.len() > Self::REQUIRED_SERVICES_MAX {
            let allowed = format!("must be at most {} names", Self::REQUIRED_SERVICES_MAX);
            return Err(InvalidField::new("required_services", allowed));
        }
        let required = message.required_services.iter().enumerate();
        Ok(Self {
            key: InstanceKey { service, id },
            address,
            tls: message.tls,
            version: label("version", message.version)?,
            zone: label("zone", message.zone)?,
            weight,
            metadata: metadata(message.metadata)?,
            required_services: required
                .map(|(n, name)| ServiceName::parse(&format!("required_services[{n}]"), name))
                .collect::<Result<BTreeSet<_>, _>>()?
                .into(),
            health_check: HealthCheck::try_from(message.health_check.unwrap_or_default())
                .map_err(|error| error.within("health_check"))?
                .into(),
        })
    }
}

fn label(field: &str, text: String) -> Result<Arc<str>, InvalidField> {
    let max = Registration::LABEL_CHARS_MAX;
    if text.chars().count() > max || text.chars().any(char::is_control) {
        let allowed = format!("must be at most {max} characters, none of them a control character");
        return Err(InvalidField::new(field, allowed));
    }
    Ok(text.into())
}

fn metadata(pairs: BTreeMap<String, String>) -> Result<Metadata, InvalidField> {
    let refused = |allowed: String| Err(InvalidField::new("metadata", allowed));
    if pairs.len() > Registration::METADATA_PAIRS_MAX {
        return refused(format!("must have at most {} pairs", Registration::METADATA_PAIRS_MAX));
    }
    if pairs
        .keys()
        .any(|key| key.is_empty() || key.chars().count() > Registration::LABEL_CHARS_MAX)
    {
        return refused(format!(
            "must have keys of 1 to {} characters",
            Registration::LABEL_CHARS_MAX
        ));
    }
    let size_bytes: usize = pairs.iter().map(|(key, value)| key.len() + value.len()).sum();
    if size_bytes > Registration::METADATA_SIZE_BYTES_MAX {
        return refused(format!(
            "must have at most {} bytes",
            Registration::METADATA_SIZE_BYTES_MAX
        ));
    }
    Ok(pairs.into())
}

impl TryFrom<proto::HealthCheck> for HealthCheck {
    type Error = InvalidField;

    fn try_from(message: proto::HealthCheck) -> Result<Self, InvalidField> {
        let default = Self::default();
        if message.service.len() > Self::SERVICE_BYTES_MAX {
            let allowed = format!("must be at most {} bytes", Self::SERVICE_BYTES_MAX);
            return Err(InvalidField::new("service", allowed));
        }
        let attempts = match message.attempts {
            0 => default.attempts,
            attempts => attempts,
        };
        if !Self::ATTEMPTS.contains(&attempts) {
            let allowed = format!("must be {} to {}", Self::ATTEMPTS.start(), Self::ATTEMPTS.end());
            return Err(InvalidField::new("attempts", allowed));
        }
        Ok(Self {
            mode: message.mode().into(),
            service: message.service,
            interval: duration("interval", message.interval, Self::INTERVAL, default.interval)?,
            timeout: duration("timeout", message.timeout, Self::TIMEOUT, default.timeout)?,
            attempts,
            deregister_after: duration(
                "deregister_after",
                message.deregister_after,
                Self::DEREGISTER_AFTER,
                default.deregister_after,
            )?,
            ttl: duration("ttl", message.ttl, Self::TTL, default.ttl)?,
        })
    }
}

/// Reads a duration that has bounds and a default.
///
/// # Errors
/// The bounds of the field.
pub fn duration(
    field: &str,
    message: Option<prost_types::Duration>,
    bounds: RangeInclusive<Duration>,
    default: Duration,
) -> Result<Duration, InvalidField> {
    let Some(message) = message else {
        return Ok(default);
    };
    match Duration::try_from(message) {
        Ok(duration) if bounds.contains(&duration) => Ok(duration),
        _ => {
            let allowed = format!("must be {:?} to {:?}", bounds.start(), bounds.end());
            Err(InvalidField::new(field, allowed))
        }
    }
}

/// A duration of the model as a message.
///
/// # Panics
/// Never for a bounded duration: all bounds fit into a message.
fn duration_message(duration: Duration) -> Option<prost_types::Duration> {
    Some(
        duration
            .try_into()
            .expect("every bound fits into google.protobuf.Duration"),
    )
}

impl From<&InstanceKey> for proto::InstanceKey {
    fn from(key: &InstanceKey) -> Self {
        Self {
            service: key.service.to_string(),
            id: key.id.to_string(),
        }
    }
}

impl TryFrom<proto::InstanceKey> for InstanceKey {
    type Error = InvalidField;

    fn try_from(message: proto::InstanceKey) -> Result<Self, InvalidField> {
        Self::parse(&message.service, &message.id)
    }
}

impl From<&Registration> for proto::Instance {
    fn from(registration: &Registration) -> Self {
        let check = &registration.health_check;
        Self {
            service: registration.key.service.to_string(),
            id: registration.key.id.to_string(),
            address: registration.address.to_string(),
            tls: registration.tls,
            version: registration.version.to_string(),
            zone: registration.zone.to_string(),
            weight: Some(registration.weight),
            metadata: (&registration.metadata).into(),
            required_services: registration.required_services.iter().map(ToString::to_string).collect(),
            health_check: Some(proto::HealthCheck {
                service: check.service.clone(),
                interval: duration_message(check.interval),
                timeout: duration_message(check.timeout),
                attempts: check.attempts,
                deregister_after: duration_message(check.deregister_after),
                mode: proto::HealthCheckMode::from(check.mode).into(),
                ttl: duration_message(check.ttl),
            }),
            incarnation: 0,
            revision: 0,
            health: None,
            registrant: String::new(),
        }
    }
}

impl TryFrom<proto::Instance> for Instance {
    type Error = InvalidField;

    /// Reads what a registry says. Only the names must be valid: a registry may have other limits than this version.
    fn try_from(message: proto::Instance) -> Result<Self, InvalidField> {
        let required = message.required_services.iter();
        let registration = Registration {
            key: InstanceKey::parse(&message.service, &message.id)?,
            address: Address::parse("address", &message.address)?,
            tls: message.tls,
            version: message.version.into(),
            zone: message.zone.into(),
            weight: message.weight.unwrap_or(Registration::WEIGHT_DEFAULT).max(1),
            metadata: message.metadata.into(),
            required_services: Arc::new(required.filter_map(|name| name.parse().ok()).collect()),
            health_check: message
                .health_check
                .and_then(|check| HealthCheck::try_from(check).ok())
                .unwrap_or_default()
                .into(),
        };
        Ok(Self {
            registration: Arc::new(registration),
            incarnation: Incarnation(message.incarnation),
            revision: Revision(message.revision),
            health: message.health.unwrap_or_default().into(),
            registrant: message.registrant.parse().ok(),
        })
    }
}

impl From<proto::Health> for Health {
    /// Reads what a registry says; a state or reason of a newer registry is taken as not known.
    fn from(message: proto::Health) -> Self {
        Self {
            state: message.state().into(),
            since: message
                .since
                .and_then(|time| SystemTime::try_from(time).ok())
                .unwrap_or(SystemTime::UNIX_EPOCH),
            reason: message.reason().into(),
            detail: message.detail.into(),
            suspect: message.suspect,
            verified: message.verified,
        }
    }
}

macro_rules! enum_pairs {
    ($model:ty, $message:ty, { $($a:ident = $b:ident),* $(,)? }) => {
        impl From<$model> for $message {
            fn from(value: $model) -> Self {
                match value { $(<$model>::$a => Self::$b),* }
            }
        }
    };
    ($model:ty, $message:ty, unspecified = $unspecified:ident, { $($a:ident = $b:ident),* $(,)? }) => {
        enum_pairs!($model, $message, { $($a = $b),* });

        impl From<$message> for $model {
            fn from(value: $message) -> Self {
                match value {
                    <$message>::Unspecified => Self::$unspecified,
                    $(<$message>::$b => Self::$a),*
                }
            }
        }
    };
}

enum_pairs!(HealthState, proto::HealthState, unspecified = Unknown, {
    Unknown = Unknown,
    Serving = Serving,
    NotServing = NotServing,
    Unreachable = Unreachable,
    Draining = Draining,
});

enum_pairs!(HealthCheckMode, proto::HealthCheckMode, unspecified = Probe, {
    Probe = Probe,
    Lease = Lease,
});

enum_pairs!(HealthReason, proto::HealthReason, unspecified = NotProbed, {
    NotProbed = NotProbed,
    Serving = Serving,
    NotServing = NotServing,
    Refused = Refused,
    Timeout = Timeout,
    NotHttp2 = NotHttp2,
    NoHealthService = NoHealthService,
    HealthNameUnknown = HealthNameUnknown,
    Error = Error,
    Draining = Draining,
    TlsFailed = TlsFailed,
    LeaseHeld = LeaseHeld,
    LeaseExpired = LeaseExpired,
    ProbeNotAllowed = ProbeNotAllowed,
});

enum_pairs!(Cause, proto::ChangeCause, {
    Registered = Registered,
    Replaced = Replaced,
    ProbeFailed = ProbeFailed,
    Recovered = Recovered,
    Drained = Drained,
    Deregistered = Deregistered,
    Evicted = Evicted,
    LeaseExpired = LeaseExpired,
    Braked = Braked,
    Restored = Restored,
});
