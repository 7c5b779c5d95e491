//! Finds out who is alive: one task an instance, which speaks the gRPC health-checking protocol to it.
//!
//! The prober follows the catalog as a watcher does: a registration that appears is probed, one that is replaced or
//! gone is not any more.

mod finding;
mod judge;
mod session;
mod targets;

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use homeroom::{
    backoff::Backoff,
    model::{Change, HealthCheckMode, HealthState, Instance, InstanceKey, Registration, Revision},
    telemetry::context::inherit,
};
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use self::{finding::Finding, judge::Judge, session::Ended};
pub use self::{judge::OnProbe, targets::Targets};
use crate::{
    brake::BrakeStatus,
    config::{BrakeSettings, Settings},
    error::Error,
    lease::Leases,
    store::Store,
};

/// How many connections are begun at once: a registry with thousands of instances must not flood its network.
const DIALS_MAX: usize = 256;
/// The first delay before an instance that refused, or hung up, is tried again; it doubles up to the probe interval.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// A connection that held this long was no accident: when it ends, the instance is dialled again at once.
const STABLE_AFTER: Duration = Duration::from_secs(1);
/// How long to wait when this process cannot open connections: those that end free descriptors.
const LOCAL_PAUSE: Duration = Duration::from_secs(1);
/// How soon an eviction that had to wait is asked for again.
const EVICTION_PAUSE: Duration = Duration::from_secs(1);

/// How to probe.
#[derive(Clone)]
pub struct Options {
    /// Whom.
    pub targets: Targets,
    /// When to suspect ourselves.
    pub brake: BrakeSettings,
    /// Told of every finding.
    pub on_probe: OnProbe,
}

impl Options {
    /// What the settings of a registry say that listens on this host.
    pub fn new(settings: &Settings, listens: IpAddr) -> Self {
        Self {
            targets: Targets::new(listens, settings.probe.allow.clone()),
            brake: settings.brake.clone(),
            on_probe: Arc::new(|_, _| ()),
        }
    }
}

/// The probes of all instances.
#[derive(Debug)]
pub struct Prober {
    store: Arc<Store>,
    judge: Arc<Judge>,
    targets: Arc<Targets>,
    /// Guards the map only; never held while something is awaited.
    probes: Mutex<HashMap<InstanceKey, Probe>>,
    /// Held while an end or a renewal is applied, so that they take effect in the order in which they are noted here.
    leases: Mutex<Leases>,
    leases_changed: Notify,
    followed: watch::Sender<Revision>,
    dials: Arc<Semaphore>,
}

/// The running probe of one registration; it ends with this.
#[derive(Debug)]
struct Probe {
    registration: Arc<Registration>,
    signals: Arc<Signals>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Debug, Default)]
struct Signals {
    /// Asks for a probe at once.
    now: Notify,
    /// How many probes have ended.
    findings: watch::Sender<u64>,
}

impl Prober {
    /// A prober of the instances of a store; it works while [`Prober::run`] does.
    pub fn new(store: Arc<Store>, options: Options) -> Self {
        Self {
            judge: Arc::new(Judge::new(store.clone(), options.brake, options.on_probe)),
            targets: Arc::new(options.targets),
            store,
            leases: Mutex::default(),
            leases_changed: Notify::new(),
            probes: Mutex::default(),
            followed: watch::Sender::new(Revision::default()),
            dials: Arc::new(Semaphore::new(DIALS_MAX)),
        }
    }

    /// Follows the catalog, and ends leases, for ever.
    pub async fn run(&self) {
        tokio::join!(self.follow_catalog(), self.end_leases());
    }

    /// Why an instance may not be registered: its address leads to a host that this registrant may not have probed.
    ///
    /// # Errors
    /// [`Error::ProbeNotAllowed`].
    pub async fn admit(&self, registration: &Registration, registrant: Option<IpAddr>) -> Result<(), Error> {
        if registration.health_check.mode == HealthCheckMode::Lease {
            return Ok(());
        }
        match self.targets.refused(&registration.address, registrant).await {
            None => Ok(()),
            Some(host) => Err(Error::ProbeNotAllowed {
                address: registration.address.clone(),
                host,
                registrant,
            }),
        }
    }

    /// Renews the lease of an instance. Changes the catalog only when it had expired.
    pub fn renew(&self, instance: &Instance) {
        let mut leases = self.lock_leases();
        let before = leases.next_due();
        leases.renew(&instance.registration, Instant::now());
        self.judge
            .found(&instance.registration, &Finding::LeaseHeld, 0, Duration::ZERO);
        let sooner = before.is_none_or(|before| leases.next_due().is_some_and(|next| next < before));
        drop(leases);
        if sooner {
            self.leases_changed.notify_one();
        }
    }

    /// What the brake does.
    pub fn brake_status(&self) -> BrakeStatus {
        self.judge.brake_status()
    }

    async fn end_leases(&self) {
        loop {
            let changed = self.leases_changed.notified();
            let next = self.end_due_leases();
            tokio::select! {
                () = changed => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    fn end_due_leases(&self) -> Option<Instant> {
        let mut leases = self.lock_leases();
        let now = Instant::now();
        while let Some(registration) = leases.pop_due(now) {
            let ttl = registration.health_check.ttl;
            let finding = Finding::LeaseExpired(ttl);
            let attempts = registration.health_check.attempts;
            let Some(instance) = self.judge.found(&registration, &finding, attempts, ttl) else {
                leases.remove(&registration.key);
                continue;
            };
            leases.wait(&registration, now + until_next_look(&instance));
        }
        leases.next_due()
    }

    async fn follow_catalog(&self) {
        let mut revisions = self.store.revisions();
        let mut position = Revision::default();
        loop {
            revisions.mark_unchanged();
            position = self.follow(position);
            self.followed.send_replace(position);
            // The store lives as long as this prober holds it.
            let _ = revisions.changed().await;
        }
    }

    fn follow(&self, position: Revision) -> Revision {
        let (missed, all, revision) = self.store.read(|state| {
            let missed: Option<Vec<_>> = state.history.since(position).map(|changes| changes.cloned().collect());
            let all: Vec<_> = match missed {
                Some(_) => Vec::new(),
                None => state.catalog.instances().cloned().collect(),
            };
            (missed, all, state.catalog.revision())
        });
        match missed {
            Some(changes) => changes.iter().for_each(|change| self.follow_change(change)),
            None => {
                let there: HashSet<_> = all.iter().map(|instance| instance.key()).collect();
                self.lock().retain(|key, _| there.contains(key));
                self.lock_leases().retain(|key| there.contains(key));
                all.iter().for_each(|instance| self.track(instance));
            }
        }
        revision
    }

    fn follow_change(&self, change: &Change) {
        match &change.after {
            Some(instance) => self.track(instance),
            None => {
                self.lock().remove(change.key());
                self.lock_leases().remove(change.key());
                self.judge.forget(change.key());
            }
        }
    }

    fn track(&self, instance: &Instance) {
        let registration = &instance.registration;
        self.judge.meet(instance);
        if registration.health_check.mode == HealthCheckMode::Lease {
            self.lock().remove(instance.key());
            self.lock_leases().track(registration, Instant::now());
            self.leases_changed.notify_one();
            return;
        }
        self.lock_leases().remove(instance.key());
        let mut probes = self.lock();
        let known = probes.get(instance.key());
        if known.is_some_and(|probe| Arc::ptr_eq(&probe.registration, registration)) {
            return;
        }
        let signals = Arc::new(Signals::default());
        let runner = Runner {
            judge: self.judge.clone(),
            dials: self.dials.clone(),
            targets: self.targets.clone(),
            registration: registration.clone(),
            registrant: instance.registrant,
            signals: signals.clone(),
            silent: 0,
        };
        let probe = Probe {
            registration: registration.clone(),
            signals,
            _task: AbortOnDropHandle::new(tokio::spawn(inherit(runner.run()))),
        };
        probes.insert(instance.key().clone(), probe);
    }

    /// Waits for the verdict of the first probe, or of another one now when the instance was away. Gives up after
    /// `patience`, or when the registration is gone.
    pub async fn verify(&self, instance: &Instance, patience: Duration) {
        let verdict = async {
            let mut followed = self.followed.subscribe();
            // The sender is this prober's.
            let _ = followed.wait_for(|revision| *revision >= instance.revision).await;
            let Some(signals) = self.signals(instance) else {
                return;
            };
            let mut findings = signals.findings.subscribe();
            let seen = match instance.health.state {
                HealthState::Unknown => 0,
                HealthState::Unreachable => *findings.borrow(),
                HealthState::Serving | HealthState::NotServing | HealthState::Draining => return,
            };
            signals.now.notify_one();
            // The sender is held here.
            let _ = findings.wait_for(|count| *count > seen).await;
        };
        // Too late is an answer, too: the health known by then.
        let _ = timeout(patience, verdict).await;
    }

    /// Probes an instance now: it has shown a sign of life.
    pub fn nudge(&self, instance: &Instance) {
        if let Some(signals) = self.signals(instance) {
            signals.now.notify_one();
        }
    }

    fn signals(&self, instance: &Instance) -> Option<Arc<Signals>> {
        let probes = self.lock();
        let probe = probes.get(instance.key())?;
        Arc::ptr_eq(&probe.registration, &instance.registration).then(|| probe.signals.clone())
    }

    /// A panic elsewhere cannot leave the map in a bad state.
    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceKey, Probe>> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same.
    fn lock_leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long nothing happens to an instance whose lease has ended.
fn until_next_look(instance: &Instance) -> Duration {
    let check = &instance.registration.health_check;
    match instance.health.state {
        HealthState::Unreachable => {
            let dead_for = SystemTime::now().duration_since(instance.health.since);
            check
                .deregister_after
                .saturating_sub(dead_for.unwrap_or_default())
                .max(EVICTION_PAUSE)
        }
        // The brake keeps it, or it is being drained.
        _ => check.ttl,
    }
}

/// Probes one registration.
struct Runner {
    judge: Arc<Judge>,
    dials: Arc<Semaphore>,
    targets: Arc<Targets>,
    registration: Arc<Registration>,
    registrant: Option<IpAddr>,
    signals: Arc<Signals>,
    silent: u32,
}

impl Runner {
    async fn run(mut self) {
        let registration = self.registration.clone();
        let (dials, targets, registrant) = (self.dials.clone(), self.targets.clone(), self.registrant);
        let interval = registration.health_check.interval;
        let mut backoff = Backoff::new(RETRY_FIRST.min(interval), interval);
        let mut unable = false;
        loop {
            let started = Instant::now();
            let ended = session::run((&dials, &targets, registrant), &registration, |finding| {
                self.report(&finding)
            })
            .await;
            let was_unable = std::mem::replace(&mut unable, matches!(ended, Ended::Unable(_)));
            let next = match ended {
                Ended::WasAlive => {
                    // It has hung up: silence after that is no mere delay.
                    self.silent = self.registration.health_check.attempts - 1;
                    if started.elapsed() >= STABLE_AFTER {
                        backoff.reset();
                        Instant::now()
                    } else {
                        Instant::now() + backoff.next_delay()
                    }
                }
                Ended::Refused => Instant::now() + backoff.next_delay(),
                Ended::Silent => started + interval,
                Ended::Unable(error) => {
                    if !was_unable {
                        tracing::error!(instance.id = %registration.key.id, %error, "cannot probe");
                    }
                    Instant::now() + LOCAL_PAUSE
                }
            };
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.signals.now.notified() => {}
            }
        }
    }

    fn report(&mut self, finding: &Finding) {
        self.silent = if matches!(finding, Finding::Silent(_)) {
            self.silent + 1
        } else {
            0
        };
        self.judge
            .found(&self.registration, finding, self.silent, Duration::ZERO);
        self.signals.findings.send_modify(|count| *count += 1);
    }
}

#[cfg(test)]
mod tests;
