//! Who speaks, where an entry does not say so.

use std::collections::BTreeMap;

use super::{context::Origin, settings::Settings};
use crate::proto::log::v1::Entry;

/// What entries say of the process that they come from.
#[derive(Debug)]
pub(super) struct Identity {
    origin: Origin,
    resource: BTreeMap<String, String>,
}

impl Identity {
    /// A process that calls itself `origin`, where the settings do not name it otherwise.
    pub(super) fn new(origin: Origin, settings: &Settings) -> Self {
        Self {
            origin: Origin {
                service: settings.service.clone().unwrap_or(origin.service),
                instance: settings.instance.clone().unwrap_or(origin.instance),
            },
            resource: settings.resource.clone(),
        }
    }

    /// Completes an entry. One that comes from an instance of the mesh says so itself.
    pub(super) fn sign(&self, entry: &mut Entry) {
        if entry.service.is_empty() {
            entry.service.clone_from(&self.origin.service);
            entry.instance.clone_from(&self.origin.instance);
        }
        entry.resource.clone_from(&self.resource);
    }
}
