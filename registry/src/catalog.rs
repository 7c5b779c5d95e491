//! The instances that are registered, and what each command changes. Pure: no I/O, no clock, no tonic.

mod command;
mod requirements;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::SystemTime};

use homeroom::model::{
    Cause, Change, Epoch, Health, HealthCheckMode, HealthReason, HealthState, Incarnation, Instance, InstanceId,
    InstanceKey, Registration, Revision, ServiceName,
};

pub use self::command::{Applied, Command, Departure};
use self::requirements::Requirements;
use crate::{config::Limits, error::Error, lease};

/// Who speaks when the registry acts by itself.
pub const REGISTRY: &str = "registry";

/// The instances that are registered.
#[derive(Debug)]
pub struct Catalog {
    epoch: Epoch,
    revision: Revision,
    last_incarnation: Incarnation,
    services: BTreeMap<ServiceName, BTreeMap<InstanceId, Arc<Instance>>>,
    requirements: Requirements,
    instances: usize,
    instances_max: usize,
    /// The actor of what the registry does by itself.
    registry: Arc<str>,
}

impl Catalog {
    /// An empty catalog with a history of its own. The epoch must differ from that of any earlier catalog.
    pub fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            revision: Revision::default(),
            last_incarnation: Incarnation::default(),
            services: BTreeMap::new(),
            requirements: Requirements::default(),
            instances: 0,
            instances_max: Limits::default().instances,
            registry: REGISTRY.into(),
        }
    }

    /// The same catalog, which holds this many instances; one that holds more already adds none.
    #[must_use]
    pub fn limited(mut self, instances_max: usize) -> Self {
        self.instances_max = instances_max;
        self
    }

    /// A catalog as it was: at this revision, with these instances. No incarnation is given that is not above `last`.
    pub fn restored(
        epoch: Epoch,
        revision: Revision,
        last: Incarnation,
        instances: impl IntoIterator<Item = Arc<Instance>>,
    ) -> Self {
        let mut catalog = Self {
            revision,
            last_incarnation: last,
            ..Self::new(epoch)
        };
        instances.into_iter().for_each(|instance| catalog.insert(instance));
        catalog
    }

    /// Begins another history, which no earlier one is continued by. Revisions go on, so that they stay comparable for
    /// those who know both.
    pub fn begin_epoch(&mut self, epoch: Epoch) {
        self.epoch = epoch;
    }

    /// The highest incarnation that was given.
    pub fn last_incarnation(&self) -> Incarnation {
        self.last_incarnation
    }

    /// How many instances there are.
    pub fn len(&self) -> usize {
        self.instances
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.instances == 0
    }

    /// The history that this catalog's revisions belong to.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The revision of the last change.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The instance of this name.
    pub fn get(&self, key: &InstanceKey) -> Option<&Arc<Instance>> {
        self.services.get(&key.service)?.get(&key.id)
    }

    /// The services that have instances, with them, by name.
    pub fn services(&self) -> &BTreeMap<ServiceName, BTreeMap<InstanceId, Arc<Instance>>> {
        &self.services
    }

    /// The instances of a service, by id.
    pub fn instances_of(&self, service: &ServiceName) -> impl Iterator<Item = &Arc<Instance>> {
        self.services.get(service).into_iter().flat_map(BTreeMap::values)
    }

    /// All instances, by service and id.
    pub fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.services.values().flat_map(BTreeMap::values)
    }

    /// The services that the instances of a service require.
    pub fn required_by(&self, service: &ServiceName) -> impl Iterator<Item = &ServiceName> {
        self.requirements.of(service)
    }

    /// Those of the services that `registration` requires that require its own service too, directly or not.
    pub fn cyclic_services(&self, registration: &Registration) -> Vec<ServiceName> {
        let required = registration.required_services.iter();
        let own = &registration.key.service;
        required
            .filter(|service| self.requirements.reaches(service, own))
            .cloned()
            .collect()
    }

    /// Does what a command says. On an error nothing has changed.
    ///
    /// # Errors
    /// Why the command is refused.
    pub fn apply(&mut self, command: Command, now: SystemTime) -> Result<Applied, Error> {
        let applied = self.decide(command, now)?;
        self.commit(&applied);
        Ok(applied)
    }

    /// Decides what a command changes, and changes nothing yet: what is decided has to be kept first. It holds until the
    /// next [`Catalog::commit`].
    ///
    /// # Errors
    /// Why the command is refused.
    pub fn decide(&self, command: Command, now: SystemTime) -> Result<Applied, Error> {
        match command {
            Command::Register {
                registration,
                renews,
                actor,
                registrant,
            } => self.register(registration, renews, (actor, registrant), now),
            Command::Drain(departure) => self.drain(&departure, now),
            Command::Deregister(departure) => {
                let instance = self.departing(&departure)?;
                Ok(self.remove(instance, Cause::Deregistered, departure.actor, now))
            }
            Command::Observe { registration, health } => Ok(self.observe(&registration, health, now)),
            Command::Evict { registration } => Ok(match self.holder(&registration) {
                Some(instance) => self.remove(instance, Cause::Evicted, self.registry.clone(), now),
                None => Applied::default(),
            }),
            Command::Restore { registration } => Ok(self.restore(&registration, now)),
        }
    }

    /// Makes the changes that were decided last.
    ///
    /// # Panics
    /// When something else was committed since.
    pub fn commit(&mut self, applied: &Applied) {
        for change in &applied.changes {
            assert_eq!(change.revision, self.revision.next(), "what was decided still holds");
            self.revision = change.revision;
            match (&change.before, &change.after) {
                (_, Some(after)) => self.insert(after.clone()),
                (Some(before), None) => self.take_out(before),
                (None, None) => {}
            }
        }
        if let (true, Some(instance)) = (applied.reaffirmed, &applied.instance) {
            self.insert(instance.clone());
        }
    }

    fn register(
        &self,
        mut registration: Arc<Registration>,
        renews: Option<Incarnation>,
        (actor, registrant): (Arc<str>, Option<IpAddr>),
        now: SystemTime,
    ) -> Result<Applied, Error> {
        let key = &registration.key;
        let holder = self.get(key).cloned();
        let alike = holder.as_ref().or_else(|| self.instances_of(&key.service).next());
        if let (Some(alike), Some(registration)) = (alike, Arc::get_mut(&mut registration)) {
            registration.share(&alike.registration);
        }
        let Some(holder) = holder else {
            return self.add(registration, (actor, registrant), now);
        };
        if let Some(incarnation) = renews
            && incarnation != holder.incarnation
        {
            return Err(Error::Superseded {
                key: registration.key.clone(),
                incarnation,
            });
        }
        let draining = holder.health.state == HealthState::Draining;
        if holder.registration == registration && (renews.is_some() || !draining) {
            return Ok(self.reaffirm(holder, renews, now));
        }
        let held = matches!(holder.health.state, HealthState::Serving | HealthState::Unknown);
        if holder.registration.address != registration.address && held && renews.is_none() {
            return Err(Error::InstanceExists {
                key: registration.key.clone(),
                address: holder.registration.address.clone(),
            });
        }
        let probed_alike = holder.registration.address == registration.address
            && holder.registration.health_check == registration.health_check;
        let leased = registration.health_check.mode == HealthCheckMode::Lease;
        let health = if leased && !holder.is_serving() {
            lease::first_health(&registration, now)
        } else if probed_alike && !draining {
            holder.health.clone()
        } else {
            lease::first_health(&registration, now)
        };
        let instance = Instance {
            registration,
            incarnation: self.next_incarnation(now),
            health,
            registrant,
            ..(*holder).clone()
        };
        Ok(self.put(Some(holder), instance, Cause::Replaced, actor, now))
    }

    fn add(
        &self,
        registration: Arc<Registration>,
        (actor, registrant): (Arc<str>, Option<IpAddr>),
        now: SystemTime,
    ) -> Result<Applied, Error> {
        if self.instances >= self.instances_max {
            return Err(Error::TooManyInstances {
                limit: self.instances_max,
            });
        }
        let instance = Instance {
            incarnation: self.next_incarnation(now),
            revision: Revision::default(),
            health: lease::first_health(&registration, now),
            registration,
            registrant,
        };
        Ok(self.put(None, instance, Cause::Registered, actor, now))
    }

    /// The same content again: no change. A registration that renews nothing may come from another process, which must
    /// be fenced from the one before it, so it gets an incarnation of its own.
    fn reaffirm(&self, holder: Arc<Instance>, renews: Option<Incarnation>, now: SystemTime) -> Applied {
        let reaffirmed = renews.is_none();
        let instance = if reaffirmed {
            Arc::new(Instance {
                incarnation: self.next_incarnation(now),
                ..(*holder).clone()
            })
        } else {
            holder
        };
        Applied {
            changes: Vec::new(),
            instance: Some(instance),
            reaffirmed,
        }
    }

    /// A number above all before it, also those of a catalog that was lost, as long as the clock does not go back.
    fn next_incarnation(&self, now: SystemTime) -> Incarnation {
        let micros = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_micros();
        let clock = u64::try_from(micros).unwrap_or(u64::MAX);
        Incarnation(clock.max(self.last_incarnation.0 + 1))
    }

    fn departing(&self, departure: &Departure) -> Result<Arc<Instance>, Error> {
        let key = || departure.key.clone();
        let instance = self.get(&departure.key).ok_or_else(|| Error::InstanceNotFound(key()))?;
        match departure.incarnation {
            Some(incarnation) if incarnation != instance.incarnation => Err(Error::Superseded {
                key: key(),
                incarnation,
            }),
            _ => Ok(instance.clone()),
        }
    }

    fn drain(&self, departure: &Departure, now: SystemTime) -> Result<Applied, Error> {
        let holder = self.departing(departure)?;
        if holder.health.state == HealthState::Draining {
            return Ok(Applied {
                instance: Some(holder),
                ..Applied::default()
            });
        }
        let instance = Instance {
            health: Health {
                state: HealthState::Draining,
                since: now,
                reason: HealthReason::Draining,
                detail: "drained before it leaves".into(),
                suspect: false,
                verified: holder.health.verified,
            },
            ..(*holder).clone()
        };
        let actor = departure.actor.clone();
        Ok(self.put(Some(holder), instance, Cause::Drained, actor, now))
    }

    fn observe(&self, registration: &Arc<Registration>, health: Health, now: SystemTime) -> Applied {
        let Some(holder) = self.holder(registration) else {
            return Applied::default();
        };
        if holder.health.state == HealthState::Draining || holder.health == health {
            return Applied::default();
        }
        let cause = cause_of(&health);
        let instance = Instance {
            health,
            ..(*holder).clone()
        };
        self.put(Some(holder), instance, cause, self.registry.clone(), now)
    }

    /// Nothing is known of a restored instance but what was known before; a drain that was under way is forgotten.
    fn restore(&self, registration: &Arc<Registration>, now: SystemTime) -> Applied {
        let Some(holder) = self.holder(registration) else {
            return Applied::default();
        };
        let health = match holder.health.state {
            HealthState::Draining => Health {
                verified: false,
                ..lease::first_health(registration, now)
            },
            _ => Health {
                verified: false,
                ..holder.health.clone()
            },
        };
        if health == holder.health {
            return Applied::default();
        }
        let instance = Instance {
            health,
            ..(*holder).clone()
        };
        self.put(Some(holder), instance, Cause::Restored, self.registry.clone(), now)
    }

    /// The instance that stands by exactly this registration.
    fn holder(&self, registration: &Arc<Registration>) -> Option<Arc<Instance>> {
        let holder = self.get(&registration.key)?;
        Arc::ptr_eq(&holder.registration, registration).then(|| holder.clone())
    }

    fn put(
        &self,
        before: Option<Arc<Instance>>,
        instance: Instance,
        cause: Cause,
        actor: Arc<str>,
        now: SystemTime,
    ) -> Applied {
        let revision = self.revision.next();
        let after = Arc::new(Instance { revision, ..instance });
        let change = Change {
            revision,
            time: now,
            cause,
            actor,
            before,
            after: Some(after.clone()),
        };
        Applied {
            changes: vec![Arc::new(change)],
            instance: Some(after),
            reaffirmed: false,
        }
    }

    fn insert(&mut self, instance: Arc<Instance>) {
        let key = instance.key().clone();
        self.last_incarnation = self.last_incarnation.max(instance.incarnation);
        self.requirements.add(&instance.registration);
        let service = self.services.entry(key.service).or_default();
        match service.insert(key.id, instance) {
            Some(before) => self.requirements.remove(&before.registration),
            None => self.instances += 1,
        }
    }

    fn take_out(&mut self, instance: &Instance) {
        let key = instance.key();
        if let Some(service) = self.services.get_mut(&key.service) {
            service.remove(&key.id);
            self.instances -= 1;
            self.requirements.remove(&instance.registration);
            if service.is_empty() {
                self.services.remove(&key.service);
            }
        }
    }

    fn remove(&self, instance: Arc<Instance>, cause: Cause, actor: Arc<str>, now: SystemTime) -> Applied {
        let change = Change {
            revision: self.revision.next(),
            time: now,
            cause,
            actor,
            before: Some(instance.clone()),
            after: None,
        };
        Applied {
            changes: vec![Arc::new(change)],
            instance: Some(instance),
            reaffirmed: false,
        }
    }
}

/// What made an instance's health so.
fn cause_of(health: &Health) -> Cause {
    match (health.state, health.reason) {
        (HealthState::Serving, _) if !health.suspect => Cause::Recovered,
        (HealthState::Unreachable, HealthReason::LeaseExpired) => Cause::LeaseExpired,
        // One that is still listed though the reason is there to hide it: the brake keeps it.
        (HealthState::Serving | HealthState::NotServing, HealthReason::Timeout | HealthReason::LeaseExpired) => {
            Cause::Braked
        }
        _ => Cause::ProbeFailed,
    }
}

#[cfg(test)]
mod tests;
