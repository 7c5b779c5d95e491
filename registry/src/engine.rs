//! The registry as a whole: what takes a catalog, its watchers and its probes together.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use homeroom::{
    model::{Change, HealthCheckMode, HealthState, Incarnation, Instance, InstanceKey, Registration, Revision},
    telemetry::context::inherit,
};

use crate::{
    catalog::{Command, Departure},
    config::{Limits, Settings},
    error::Error,
    probe::{self, Prober},
    store::Store,
    telling::Telling,
    watch::{Drained, Watches},
};

/// The parts of a registry. Clones share them.
#[derive(Debug, Clone)]
pub struct Engine {
    /// What is registered.
    pub store: Arc<Store>,
    /// Who watches.
    pub watches: Arc<Watches>,
    /// Who is alive.
    pub prober: Arc<Prober>,
    /// How much it holds.
    pub limits: Arc<Limits>,
    /// When it was started.
    pub start_time: SystemTime,
    telling: Arc<Telling>,
}

impl Engine {
    /// An engine over a store; its probes work while [`Prober::run`] does.
    pub fn new(store: Store, settings: &Settings, probes: probe::Options) -> Self {
        let (store, start_time) = (Arc::new(store), SystemTime::now());
        Self {
            prober: Arc::new(Prober::new(store.clone(), probes)),
            watches: Arc::new(Watches::new(settings.limits.watchers, start_time)),
            limits: Arc::new(settings.limits.clone()),
            start_time,
            store,
            telling: Arc::default(),
        }
    }

    /// Registers an instance; with `verify`, waits for the first probe's verdict that long. Answers with the instance as
    /// it stands then, and whether the call only renewed it.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn register(
        &self,
        registration: Registration,
        renews: Option<Incarnation>,
        actor: Arc<str>,
        registrant: Option<IpAddr>,
        verify: Option<Duration>,
    ) -> Result<(Arc<Instance>, bool), Error> {
        if registration.tls {
            return Err(Error::Unsupported("an instance that speaks TLS"));
        }
        self.prober.admit(&registration, registrant).await?;
        let command = Command::Register {
            registration: Arc::new(registration),
            renews,
            actor,
            registrant,
        };
        let applied = self.store.commit(command).await?;
        self.telling.log(&applied.changes, tell);
        let renewed = renews.is_some() && applied.changes.is_empty();
        let instance = applied.instance.expect("what is registered stands");
        let current = if instance.registration.health_check.mode == HealthCheckMode::Lease {
            self.prober.renew(&instance)
        } else if instance.health.state == HealthState::Serving {
            None
        } else {
            match verify {
                Some(patience) => self.prober.verify(&instance, patience).await,
                None => self.prober.nudge(&instance),
            }
            self.store.read(|state| state.catalog.get(instance.key()).cloned())
        };
        // Where nothing was asked, or it is gone by now, it is as it was.
        Ok((current.unwrap_or(instance), renewed))
    }

    /// Renews the lease of an instance. Answers how long it lasts.
    ///
    /// # Errors
    /// [`Error::InstanceNotFound`], [`Error::Superseded`], [`Error::NotLeased`].
    pub fn renew_lease(&self, key: InstanceKey, incarnation: Option<Incarnation>) -> Result<Duration, Error> {
        let instance = self.store.read(|state| state.catalog.get(&key).cloned());
        let instance = instance.ok_or_else(|| Error::InstanceNotFound(key.clone()))?;
        match incarnation {
            Some(incarnation) if incarnation != instance.incarnation => {
                return Err(Error::Superseded { key, incarnation });
            }
            _ if instance.registration.health_check.mode != HealthCheckMode::Lease => {
                return Err(Error::NotLeased(key));
            }
            _ => drop(self.prober.renew(&instance)),
        }
        Ok(instance.registration.health_check.ttl)
    }

    /// Removes an instance; with `drain`, hides it first and waits that long for its watchers. Goes on to the end though
    /// the caller does not wait.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn deregister(
        &self,
        departure: Departure,
        drain: Option<Duration>,
    ) -> Result<(Revision, Drained), Error> {
        let engine = self.clone();
        // Not tied to the caller: an instance that was hidden has to be removed. It ends with its patience.
        let leaving = tokio::spawn(inherit(async move { engine.leave(departure, drain).await }));
        leaving.await.unwrap_or(Err(Error::Draining))
    }

    async fn leave(&self, mut departure: Departure, drain: Option<Duration>) -> Result<(Revision, Drained), Error> {
        let mut drained = Drained {
            watchers: 0,
            late: Vec::new(),
        };
        if let Some(patience) = drain {
            let applied = self.store.commit(Command::Drain(departure.clone())).await?;
            self.telling.log(&applied.changes, tell);
            let instance = applied.instance.expect("what is drained stands");
            // Whoever registers in the meantime is not to be removed.
            departure.incarnation = Some(instance.incarnation);
            // Watchers that were not shown the instance are told nothing that they could acknowledge.
            let hidden_before =
                |change: &Arc<Change>| change.before.as_ref().is_some_and(|before| !before.is_serving());
            if !applied.changes.iter().any(hidden_before) {
                let service = &departure.key.service;
                let position = (instance.revision, self.store.read(|state| state.catalog.epoch()));
                drained = self.watches.applied(service, position, patience).await;
            }
        }
        let removed = self.store.commit(Command::Deregister(departure.clone())).await;
        match removed {
            Ok(applied) => {
                self.telling.log(&applied.changes, tell);
                let revision = applied.changes.first().map(|change| change.revision);
                Ok((revision.unwrap_or_default(), drained))
            }
            // Another goodbye was faster.
            Err(Error::InstanceNotFound(_)) if drain.is_some() => {
                Ok((self.store.read(|state| state.catalog.revision()), drained))
            }
            Err(error) => {
                if drain.is_some() {
                    // It is hidden already, and would be for ever: it goes, though that cannot be kept.
                    let _ = self.store.apply(Command::Deregister(departure));
                }
                Err(error)
            }
        }
    }
}

fn tell(change: &Change) {
    let key = change.key();
    tracing::info!(
        service.name = %key.service,
        instance.id = %key.id,
        revision = change.revision.0,
        cause = ?change.cause,
        actor = %change.actor,
        "the catalog changed"
    );
}
