//! Which services require which, and whether they do so in a circle. Pure.

use std::collections::{BTreeMap, BTreeSet};

use homeroom::model::{Registration, ServiceName};

/// The services that each service requires, with how many of its instances do: kept at every registration, so that
/// asking costs no look at the instances.
#[derive(Debug, Default)]
pub(super) struct Requirements {
    counts: BTreeMap<ServiceName, BTreeMap<ServiceName, usize>>,
}

impl Requirements {
    /// Takes in what an instance requires.
    pub(super) fn add(&mut self, registration: &Registration) {
        for required in registration.required_services.iter() {
            let counts = self.counts.entry(registration.key.service.clone()).or_default();
            *counts.entry(required.clone()).or_default() += 1;
        }
    }

    /// Takes out what an instance required.
    pub(super) fn remove(&mut self, registration: &Registration) {
        let Some(counts) = self.counts.get_mut(&registration.key.service) else {
            return;
        };
        for required in registration.required_services.iter() {
            if let Some(count) = counts.get_mut(required) {
                *count -= 1;
            }
        }
        counts.retain(|_, count| *count > 0);
        if counts.is_empty() {
            self.counts.remove(&registration.key.service);
        }
    }

    /// The services that a service requires, by name.
    pub(super) fn of(&self, service: &ServiceName) -> impl Iterator<Item = &ServiceName> {
        self.counts.get(service).into_iter().flat_map(BTreeMap::keys)
    }

    /// Whether `from` is `to`, or requires it, directly or through others.
    pub(super) fn reaches(&self, from: &ServiceName, to: &ServiceName) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = vec![from];
        while let Some(service) = next.pop() {
            if service == to {
                return true;
            }
            if seen.insert(service) {
                next.extend(self.of(service));
            }
        }
        false
    }
}
