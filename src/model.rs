//! The words of the mesh as types: names, addresses, registrations, instances, changes.
//!
//! Pure, and parsed once at the edge: a value of these types is valid. Must never import a runtime module.

mod change;
mod convert;
mod encode;
mod health;
mod metadata;
mod name;

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use crate::hash::fnv1a;

pub use self::{
    change::{Cause, Change},
    convert::duration,
    health::{Health, HealthCheck, HealthCheckMode, HealthReason, HealthState},
    metadata::Metadata,
    name::{Address, InstanceId, ServiceName},
};

/// A field of a request that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid {field}: {allowed}")]
pub struct InvalidField {
    /// The path of the field in the request, such as `instance.address`.
    pub field: String,
    /// What the field allows, as a phrase: "must be ...".
    pub allowed: String,
}

impl InvalidField {
    /// Names a field and what it allows.
    pub fn new(field: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            allowed: allowed.into(),
        }
    }

    /// Puts the path of the message that holds the field before it. An empty field is the whole message.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        self.field = match self.field.as_str() {
            "" => parent.to_owned(),
            field => format!("{parent}.{field}"),
        };
        self
    }
}

/// A position in the history of the catalog: +1 a change, within one [`Epoch`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of the next change.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The history that revisions belong to; another one starts over. Compared for equality only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

/// The number that fences one registration from an older one of the same id. Rises with every registration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

macro_rules! display_number {
    ($($name:ident),*) => {$(
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}
display_number!(Revision, Epoch, Incarnation);

/// Names an instance. Ordered by service, then id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceKey {
    /// The service.
    pub service: ServiceName,
    /// The id within the service.
    pub id: InstanceId,
}

impl InstanceKey {
    /// Parses both parts.
    ///
    /// # Errors
    /// The field (`service` or `id`) that is not valid.
    pub fn parse(service: &str, id: &str) -> Result<Self, InvalidField> {
        Ok(Self {
            service: ServiceName::parse("service", service)?,
            id: InstanceId::parse("id", id)?,
        })
    }
}

impl std::fmt::Display for InstanceKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.service, self.id)
    }
}

/// What a registrant says of itself. Tens of thousands are held: what the instances of a service usually have in common is
/// in allocations of its own, which [`Registration::share`] makes one of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Its name.
    pub key: InstanceKey,
    /// Where it listens.
    pub address: Address,
    /// Whether it speaks TLS.
    pub tls: bool,
    /// Its own version; empty when not given.
    pub version: Arc<str>,
    /// Where it runs; empty when not given.
    pub zone: Arc<str>,
    /// Its share of the calls, relative to others: 1 to [`Registration::WEIGHT_MAX`].
    pub weight: u32,
    /// What it wants clients to know.
    pub metadata: Metadata,
    /// The services that it calls.
    pub required_services: Arc<BTreeSet<ServiceName>>,
    /// How it is to be probed.
    pub health_check: Arc<HealthCheck>,
}

impl Registration {
    /// The weight of an instance that gives none.
    pub const WEIGHT_DEFAULT: u32 = 100;
    /// Leaves room for the sum of 400,000 instances in 32 bits, which is what stock balancers add up in.
    pub const WEIGHT_MAX: u32 = 10_000;
    /// Version and zone are labels for people and pickers, not documents.
    pub const LABEL_CHARS_MAX: usize = 64;
    /// Every watcher holds all metadata, so it has to stay small.
    pub const METADATA_PAIRS_MAX: usize = 64;
    /// Keys and values together. A registry has a lower limit of its own; this one keeps an instance far below the 4 MiB
    /// that a message of stock clients has at most.
    pub const METADATA_SIZE_BYTES_MAX: usize = 1024 * 1024;
    /// More than an instance can sensibly wait for.
    pub const REQUIRED_SERVICES_MAX: usize = 64;

    /// Holds what it has in common with another registration, usually of the same service, together with that one.
    pub fn share(&mut self, other: &Self) {
        share(&mut self.key.service, &other.key.service);
        share(&mut self.version, &other.version);
        share(&mut self.zone, &other.zone);
        share(&mut self.required_services, &other.required_services);
        share(&mut self.health_check, &other.health_check);
    }
}

fn share<T: Clone + PartialEq>(own: &mut T, other: &T) {
    if own == other {
        other.clone_into(own);
    }
}

/// One running process of a service, as the catalog holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// What the registrant said.
    pub registration: Arc<Registration>,
    /// The number of the registration.
    pub incarnation: Incarnation,
    /// The revision of the last change.
    pub revision: Revision,
    /// What the registry knows of its health.
    pub health: Health,
    /// Who registered it; `None` when that is not known.
    pub registrant: Option<IpAddr>,
}

impl Instance {
    /// The instance's name.
    pub fn key(&self) -> &InstanceKey {
        &self.registration.key
    }

    /// Whether it takes new requests.
    pub fn is_serving(&self) -> bool {
        self.health.state == HealthState::Serving
    }

    /// What this instance adds to the hash of a view: FNV-1a (64 bits) of `service NUL id NUL revision`.
    ///
    /// The hash of a view is the wrapping sum over its instances, as `WatchServicesResponse.view_hash` documents it.
    pub fn view_hash(&self) -> u64 {
        let revision = self.revision.to_string();
        let key = self.key();
        let parts = [key.service.as_str(), "\0", key.id.as_str(), "\0", &revision];
        fnv1a(parts.iter().flat_map(|part| part.bytes()))
    }
}

#[cfg(test)]
mod tests;
