//! What a watcher wants to be told of. Pure.

use std::{collections::BTreeSet, sync::Arc};

use homeroom::model::{Instance, InstanceKey, ServiceName};

use crate::{catalog::Catalog, error::Error};

/// What a watcher wants to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    selection: Arc<Selection>,
    /// The instance whose requirements the selection follows.
    follows: Option<InstanceKey>,
}

/// Which instances a view has. Watchers of equal selections are told the same, whatever made them select it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Selection {
    services: Services,
    include_all_health: bool,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum Services {
    All,
    Named(BTreeSet<ServiceName>),
}

impl Scope {
    /// These services; all of them when none is named.
    pub fn services(services: BTreeSet<ServiceName>, include_all_health: bool) -> Self {
        let services = if services.is_empty() {
            Services::All
        } else {
            Services::Named(services)
        };
        Self::new(services, include_all_health, None)
    }

    /// The services that an instance requires.
    ///
    /// # Errors
    /// [`Error::InstanceNotFound`].
    pub fn required_by(instance: InstanceKey, include_all_health: bool, catalog: &Catalog) -> Result<Self, Error> {
        let registered = catalog
            .get(&instance)
            .ok_or_else(|| Error::InstanceNotFound(instance.clone()))?;
        let services = &registered.registration.required_services;
        Ok(Self::new(
            Services::Named((**services).clone()),
            include_all_health,
            Some(instance),
        ))
    }

    fn new(services: Services, include_all_health: bool, follows: Option<InstanceKey>) -> Self {
        let selection = Arc::new(Selection {
            services,
            include_all_health,
        });
        Self { selection, follows }
    }

    /// Which instances it shows now.
    pub fn selection(&self) -> &Arc<Selection> {
        &self.selection
    }

    /// The instance whose requirements it follows.
    pub fn follows(&self) -> Option<&InstanceKey> {
        self.follows.as_ref()
    }

    /// Whether the scope itself may change with this instance.
    pub fn depends_on(&self, key: &InstanceKey) -> bool {
        self.follows.as_ref() == Some(key)
    }

    /// The scope as the catalog has it now: an instance that is followed may require other services by now.
    ///
    /// # Errors
    /// [`Error::InstanceNotFound`] when the instance that is followed is gone.
    pub fn refreshed(&self, catalog: &Catalog) -> Result<Self, Error> {
        match &self.follows {
            Some(instance) => Self::required_by(instance.clone(), self.selection.include_all_health, catalog),
            None => Ok(self.clone()),
        }
    }
}

impl Selection {
    /// The services that are named; `None` stands for all.
    pub fn services(&self) -> Option<&BTreeSet<ServiceName>> {
        match &self.services {
            Services::All => None,
            Services::Named(services) => Some(services),
        }
    }

    /// Whether instances of this service belong to it.
    pub fn covers(&self, service: &ServiceName) -> bool {
        self.services().is_none_or(|services| services.contains(service))
    }

    /// Whether a view of it has an instance as it is.
    pub fn shows(&self, instance: &Instance) -> bool {
        self.covers(&instance.key().service) && (self.include_all_health || instance.is_serving())
    }

    /// The instances of the catalog that a view of it has.
    pub fn shown<'c>(&'c self, catalog: &'c Catalog) -> Box<dyn Iterator<Item = &'c Arc<Instance>> + 'c> {
        let instances: Box<dyn Iterator<Item = _>> = match self.services() {
            None => Box::new(catalog.instances()),
            Some(services) => Box::new(services.iter().flat_map(|service| catalog.instances_of(service))),
        };
        Box::new(instances.filter(|instance| self.shows(instance)))
    }

    /// The sum of the hashes of those instances.
    pub fn view_hash(&self, catalog: &Catalog) -> u64 {
        let hashes = self.shown(catalog).map(|instance| instance.view_hash());
        hashes.fold(0, u64::wrapping_add)
    }
}
