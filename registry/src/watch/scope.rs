//! What a watcher wants to be told of. Pure.

use std::collections::BTreeSet;

use homeroom::model::{Instance, InstanceKey, ServiceName};

use crate::{catalog::Catalog, error::Error};

/// What a watcher wants to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    services: Services,
    include_all_health: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Services {
    All,
    Named(BTreeSet<ServiceName>),
    RequiredBy {
        instance: InstanceKey,
        services: BTreeSet<ServiceName>,
    },
}

impl Scope {
    /// These services; all of them when none is named.
    pub fn services(services: BTreeSet<ServiceName>, include_all_health: bool) -> Self {
        let services = if services.is_empty() {
            Services::All
        } else {
            Services::Named(services)
        };
        Self {
            services,
            include_all_health,
        }
    }

    /// The services that an instance requires.
    ///
    /// # Errors
    /// [`Error::InstanceNotFound`].
    pub fn required_by(instance: InstanceKey, include_all_health: bool, catalog: &Catalog) -> Result<Self, Error> {
        let registered = catalog
            .get(&instance)
            .ok_or_else(|| Error::InstanceNotFound(instance.clone()))?;
        let services = registered.registration.required_services.clone();
        Ok(Self {
            services: Services::RequiredBy { instance, services },
            include_all_health,
        })
    }

    /// Whether instances of this service belong to it.
    pub fn covers(&self, service: &ServiceName) -> bool {
        match &self.services {
            Services::All => true,
            Services::Named(services) | Services::RequiredBy { services, .. } => services.contains(service),
        }
    }

    /// Whether the watcher is shown an instance as it is.
    pub fn shows(&self, instance: &Instance) -> bool {
        self.covers(&instance.key().service) && (self.include_all_health || instance.is_serving())
    }

    /// Whether the scope itself may change with this instance.
    pub fn depends_on(&self, key: &InstanceKey) -> bool {
        matches!(&self.services, Services::RequiredBy { instance, .. } if instance == key)
    }

    /// The scope as the catalog has it now: an instance that is followed may require other services by now.
    ///
    /// # Errors
    /// [`Error::InstanceNotFound`] when the instance that is followed is gone.
    pub fn refreshed(&self, catalog: &Catalog) -> Result<Self, Error> {
        match &self.services {
            Services::RequiredBy { instance, .. } => {
                Self::required_by(instance.clone(), self.include_all_health, catalog)
            }
            _ => Ok(self.clone()),
        }
    }

    /// The instances of the catalog that the watcher is shown.
    pub fn shown<'c>(&'c self, catalog: &'c Catalog) -> Box<dyn Iterator<Item = &'c std::sync::Arc<Instance>> + 'c> {
        let instances: Box<dyn Iterator<Item = _>> = match &self.services {
            Services::All => Box::new(catalog.instances()),
            Services::Named(services) | Services::RequiredBy { services, .. } => {
                Box::new(services.iter().flat_map(|service| catalog.instances_of(service)))
            }
        };
        Box::new(instances.filter(|instance| self.shows(instance)))
    }
}
