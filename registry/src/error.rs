//! What the registry refuses, and what its caller does next.

use std::time::Duration;

use homeroom::{
    model::{Address, Incarnation, InstanceKey, InvalidField},
    status::Refusal,
};
use tonic::{Code, Status};

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
    /// The registry is stopping: the caller comes back.
    #[error("the registry is stopping")]
    Draining,
    /// This version cannot do that: the caller does without.
    #[error("{0} is not supported by this version")]
    Unsupported(&'static str),
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        // Waiting makes room, but nothing smaller.
        let exceeded = |reason, subject, limit| {
            Refusal::new(Code::ResourceExhausted, reason, message.clone()).quota(subject, limit)
        };
        let full = |reason, subject, limit| exceeded(reason, subject, limit).retry_after(Duration::from_secs(10));
        match error {
            Error::InvalidField(field) => Refusal::from(field),
            Error::InstanceNotFound(key) => Refusal::not_found("INSTANCE_NOT_FOUND", "instance", key),
            Error::InstanceExists { key, address } => Refusal::new(Code::AlreadyExists, "INSTANCE_EXISTS", message)
                .about("instance", key)
                .with("address", address),
            Error::Superseded { key, incarnation } => Refusal::new(Code::FailedPrecondition, "SUPERSEDED", message)
                .with("instance", key)
                .with("incarnation", incarnation),
            Error::TooManyInstances { limit } => full("TOO_MANY_INSTANCES", "instances", limit),
            Error::InstanceTooLarge {
                what,
                size_bytes,
                limit,
            } => exceeded("INSTANCE_TOO_LARGE", what, limit)
                .with("what", what)
                .with("size_bytes", size_bytes),
            Error::TooManyWatchers { limit } => full("TOO_MANY_WATCHERS", "watchers", limit),
            Error::TooManyNames { names, limit } => exceeded("TOO_MANY_NAMES", "services", limit).with("names", names),
            Error::WatchNotFound(id) => Refusal::not_found("WATCH_NOT_FOUND", "watch", id),
            Error::Draining => Refusal::draining(),
            Error::Unsupported(what) => Refusal::unimplemented(what),
        }
        .into()
    }
}
