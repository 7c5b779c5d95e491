//! What the registry refuses, and what its caller does next.

use std::{fmt::Display, net::IpAddr, time::Duration};

use homeroom::{
    model::{Address, Incarnation, InstanceKey, InvalidField},
    status::Refusal,
};
use tonic::{Code, Status};

use crate::journal::Fault;

/// Something has to leave, or somebody make room, first: sooner is not worth a try.
const FULL_RETRY: Duration = Duration::from_secs(10);
/// A disk that fails is looked after by people; the registry tries it every few seconds by itself.
const STORE_FAILED_RETRY: Duration = Duration::from_secs(10);

/// Why a call fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A field is not valid: the caller mends the request.
    #[error(transparent)]
    InvalidField(#[from] InvalidField),
    /// There is no such instance: the caller gives up, or registers it.
    #[error("there is no instance `{0}`")]
    InstanceNotFound(InstanceKey),
    /// The id is held by an instance that lives: the caller picks another id.
    #[error("`{key}` is registered at {address} and alive")]
    InstanceExists {
        /// The name that was asked for.
        key: InstanceKey,
        /// Where its holder is.
        address: Address,
    },
    /// The caller's registration was replaced by a newer one: it stops.
    #[error("incarnation {incarnation} of `{key}` was replaced")]
    Superseded {
        /// The instance.
        key: InstanceKey,
        /// The registration that the caller holds.
        incarnation: Incarnation,
    },
    /// The catalog is full: the caller backs off, and alerts.
    #[error("the catalog is full")]
    TooManyInstances {
        /// How many there may be.
        limit: usize,
    },
    /// The instance, or its metadata, is too large: the caller registers less of it.
    #[error("{what} has {size_bytes} bytes, and may have {limit}")]
    InstanceTooLarge {
        /// What is too large: `instance` or `instance.metadata`.
        what: &'static str,
        /// How large it is.
        size_bytes: usize,
        /// How large it may be.
        limit: usize,
    },
    /// There are as many watchers as there may be: the caller backs off, and alerts.
    #[error("there are too many watchers")]
    TooManyWatchers {
        /// How many there may be.
        limit: usize,
    },
    /// A watch names more services than it may: the caller watches all, or opens several watches.
    #[error("the watch names {names} services, and may name {limit}")]
    TooManyNames {
        /// How many it names.
        names: usize,
        /// How many it may name.
        limit: usize,
    },
    /// There is no such watch: its stream has ended, the caller opens another.
    #[error("there is no watch `{0}`")]
    WatchNotFound(String),
    /// The disk has no room, and nothing has changed: the caller backs off, and alerts.
    #[error("the disk of the registry is full")]
    StoreFull,
    /// The disk fails, so that a change is refused, or may not be kept: the caller backs off, and alerts.
    #[error("the disk of the registry fails")]
    StoreFailed,
    /// The registry is stopping: the caller comes back.
    #[error("the registry is stopping")]
    Draining,
    /// The address leads to a host that the caller may not have probed: it registers from there, registers a lease, or
    /// has the network allowed.
    #[error("the registry may not probe {address} ({host}) for {}: start it with `--probe-allow {host}`, or register from there", registrant.map_or_else(|| "you".to_owned(), |ip| ip.to_string()))]
    ProbeNotAllowed {
        /// What was to be registered.
        address: Address,
        /// What it leads to.
        host: IpAddr,
        /// Who asks.
        registrant: Option<IpAddr>,
    },
    /// The instance is probed and has no lease: the caller need not renew one.
    #[error("`{0}` is probed, it has no lease")]
    NotLeased(InstanceKey),
    /// This version cannot do that: the caller does without.
    #[error("{0} is not supported by this version")]
    Unsupported(&'static str),
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Full => Self::StoreFull,
            Fault::Failed => Self::StoreFailed,
        }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        // Waiting makes room, but nothing smaller.
        let exceeded = |reason, subject, limit: &dyn Display| {
            Refusal::new(Code::ResourceExhausted, reason, message.clone()).quota(subject, limit)
        };
        let full = |reason, subject, limit: &dyn Display| exceeded(reason, subject, limit).retry_after(FULL_RETRY);
        match error {
            Error::InvalidField(field) => Refusal::from(field),
            Error::InstanceNotFound(key) => Refusal::not_found("INSTANCE_NOT_FOUND", "instance", key),
            Error::InstanceExists { key, address } => Refusal::new(Code::AlreadyExists, "INSTANCE_EXISTS", message)
                .about("instance", key)
                .with("address", address),
            Error::Superseded { key, incarnation } => Refusal::new(Code::FailedPrecondition, "SUPERSEDED", message)
                .with("instance", key)
                .with("incarnation", incarnation),
            Error::TooManyInstances { limit } => full("TOO_MANY_INSTANCES", "instances", &limit),
            Error::InstanceTooLarge {
                what,
                size_bytes,
                limit,
            } => exceeded("INSTANCE_TOO_LARGE", what, &limit)
                .with("what", what)
                .with("size_bytes", size_bytes),
            Error::TooManyWatchers { limit } => full("TOO_MANY_WATCHERS", "watchers", &limit),
            Error::TooManyNames { names, limit } => exceeded("TOO_MANY_NAMES", "services", &limit).with("names", names),
            Error::WatchNotFound(id) => Refusal::not_found("WATCH_NOT_FOUND", "watch", id),
            Error::StoreFull => full("STORE_FULL", "disk", &"the room on the disk of the registry"),
            Error::StoreFailed => {
                Refusal::new(Code::Unavailable, "STORE_FAILED", message).retry_after(STORE_FAILED_RETRY)
            }
            Error::Draining => Refusal::draining(),
            Error::ProbeNotAllowed {
                address,
                host,
                registrant,
            } => Refusal::new(Code::PermissionDenied, "PROBE_NOT_ALLOWED", message)
                .with("address", address)
                .with("ip", host)
                .with("registrant", registrant.map(|ip| ip.to_string()).unwrap_or_default()),
            Error::NotLeased(key) => {
                Refusal::new(Code::FailedPrecondition, "NOT_LEASED", message).with("instance", key)
            }
            Error::Unsupported(what) => Refusal::unimplemented(what),
        }
        .into()
    }
}

#[cfg(test)]
mod tests {
    use homeroom::status::reason;
    use tonic_types::StatusExt;

    use super::*;

    #[test]
    fn a_full_disk_names_its_quota_and_a_failing_one_when_to_come_back() {
        let full = Status::from(Error::StoreFull);
        assert_eq!(
            (full.code(), reason(&full).as_deref()),
            (Code::ResourceExhausted, Some("STORE_FULL"))
        );
        let details = full.get_error_details();
        assert_eq!(details.quota_failure().expect("a quota").violations[0].subject, "disk");
        assert_eq!(details.retry_info().expect("retry info").retry_delay, Some(FULL_RETRY));
        let failed = Status::from(Error::StoreFailed);
        assert_eq!(
            (failed.code(), reason(&failed).as_deref()),
            (Code::Unavailable, Some("STORE_FAILED"))
        );
        let details = failed.get_error_details();
        assert_eq!(
            details.retry_info().expect("retry info").retry_delay,
            Some(STORE_FAILED_RETRY)
        );
    }
}
