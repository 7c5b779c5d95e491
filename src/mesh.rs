//! The mesh as a client sees it: a registry's address, and channels to services by name.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    balance::Channel,
    config::Config,
    discovery::Discovery,
    model::{Address, InvalidField, ServiceName},
};

/// A client of the mesh. Clones share connections and watches.
#[derive(Debug, Clone)]
pub struct Mesh {
    registry: Channel,
    zone: String,
    /// One channel a service, so that everybody in this process shares one watch and its connections. They live as long
    /// as the mesh: a process calls few services.
    channels: Arc<Mutex<HashMap<ServiceName, Channel>>>,
}

impl Mesh {
    /// The mesh of the registry at this address. Connects when it is first used, and again whenever it has to.
    pub fn new(registry: Address) -> Self {
        Self {
            registry: Channel::fixed(registry),
            zone: String::new(),
            channels: Arc::default(),
        }
    }

    /// The mesh as a service with this configuration sees it: from its zone.
    pub fn of(config: &Config) -> Self {
        Self::new(config.registry.clone()).in_zone(&config.zone)
    }

    /// The same mesh seen from a zone: channels call the instances there, and others only while none of these can be
    /// called. Empty for no zone.
    #[must_use]
    pub fn in_zone(&self, zone: &str) -> Self {
        Self {
            registry: self.registry.clone(),
            zone: zone.to_owned(),
            // What others see from their zones is not shared.
            channels: Arc::default(),
        }
    }

    /// The channel to the registry itself.
    pub fn registry(&self) -> Channel {
        self.registry.clone()
    }

    /// A channel to the instances of a service, for any generated client.
    ///
    /// # Errors
    /// When it is no service name.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn channel(&self, service: &str) -> Result<Channel, InvalidField> {
        let name = ServiceName::parse("service", service)?;
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        let channel = channels.entry(name).or_insert_with_key(|name| {
            let discovery = Discovery::start(self.registry(), vec![name.clone()]);
            Channel::discovered(service, &self.zone, discovery)
        });
        Ok(channel.clone())
    }

    /// A live view of several services.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn watch(&self, services: Vec<ServiceName>) -> Discovery {
        Discovery::start(self.registry(), services)
    }
}
