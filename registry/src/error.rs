//! What the registry refuses, and what its caller does next.

use std::{fmt::Display, time::Duration};

use homeroom::{
    model::{Address, Incarnation, InstanceKey, InvalidField},
    status::Refusal,
};
use tonic::{Code, Status};

use crate::{catalog::INSTANCES_MAX, journal::Fault, watch::WATCHERS_MAX};

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
    TooManyInstances,
    /// There are as many watchers as there may be: the caller backs off, and alerts.
    #[error("there are too many watchers")]
    TooManyWatchers,
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
        let full = |reason, subject, limit: &dyn Display| {
            let refusal = Refusal::new(Code::ResourceExhausted, reason, message.clone());
            refusal.quota(subject, limit).retry_after(FULL_RETRY)
        };
        match error {
            Error::InvalidField(field) => Refusal::from(field),
            Error::InstanceNotFound(key) => Refusal::not_found("INSTANCE_NOT_FOUND", "instance", key),
            Error::InstanceExists { key, address } => Refusal::new(Code::AlreadyExists, "INSTANCE_EXISTS", message)
                .about("instance", key)
                .with("address", address),
            Error::Superseded { key, incarnation } => Refusal::new(Code::FailedPrecondition, "SUPERSEDED", message)
                .with("instance", key)
                .with("incarnation", incarnation),
            Error::TooManyInstances => full("TOO_MANY_INSTANCES", "instances", &INSTANCES_MAX),
            Error::TooManyWatchers => full("TOO_MANY_WATCHERS", "watchers", &WATCHERS_MAX),
            Error::WatchNotFound(id) => Refusal::not_found("WATCH_NOT_FOUND", "watch", id),
            Error::StoreFull => full("STORE_FULL", "disk", &"the room on the disk of the registry"),
            Error::StoreFailed => {
                Refusal::new(Code::Unavailable, "STORE_FAILED", message).retry_after(STORE_FAILED_RETRY)
            }
            Error::Draining => Refusal::draining(),
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
