//! Finds out who is alive: one task an instance, which speaks the gRPC health-checking protocol to it.
//!
//! The prober follows the catalog as a watcher does: a registration that appears is probed, one that is replaced or
//! gone is not any more.

mod finding;
mod session;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use homeroom::{
    backoff::Backoff,
    model::{Change, HealthState, Instance, InstanceKey, Registration, Revision},
    telemetry::context::inherit,
};
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::task::AbortOnDropHandle;

use self::{finding::Finding, session::Ended};
use crate::{catalog::Command, store::Store};

/// How many connections are begun at once: a registry with thousands of instances must not flood its network.
const DIALS_MAX: usize = 256;
/// The first delay before an instance that refused, or hung up, is tried again; it doubles up to the probe interval.
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// A connection that held this long was no accident: when it ends, the instance is dialled again at once.
const STABLE_AFTER: Duration = Duration::from_secs(1);
/// How long to wait when this process cannot open connections: those that end free descriptors.
const LOCAL_PAUSE: Duration = Duration::from_secs(1);

/// The probes of all instances.
#[derive(Debug)]
pub struct Prober {
    store: Arc<Store>,
    /// Guards the map only; never held while something is awaited.
    probes: Mutex<HashMap<InstanceKey, Probe>>,
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
    pub fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            probes: Mutex::default(),
            followed: watch::Sender::new(Revision::default()),
            dials: Arc::new(Semaphore::new(DIALS_MAX)),
        }
    }

    /// Follows the catalog for ever.
    pub async fn run(&self) {
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
            // At first all that stand: what was before a restart is of no interest.
            let missed = Some(position).filter(|position| *position > Revision::default());
            let missed = missed.and_then(|position| state.history.since(position));
            let missed: Option<Vec<_>> = missed.map(|changes| changes.cloned().collect());
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
            }
        }
    }

    fn track(&self, instance: &Instance) {
        let registration = &instance.registration;
        let mut probes = self.lock();
        let known = probes.get(instance.key());
        if known.is_some_and(|probe| Arc::ptr_eq(&probe.registration, registration)) {
            return;
        }
        let signals = Arc::new(Signals::default());
        let runner = Runner {
            store: self.store.clone(),
            dials: self.dials.clone(),
            registration: registration.clone(),
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
}

/// Probes one registration.
struct Runner {
    store: Arc<Store>,
    dials: Arc<Semaphore>,
    registration: Arc<Registration>,
    signals: Arc<Signals>,
    silent: u32,
}

impl Runner {
    async fn run(mut self) {
        let (registration, dials) = (self.registration.clone(), self.dials.clone());
        let interval = registration.health_check.interval;
        let mut backoff = Backoff::new(RETRY_FIRST.min(interval), interval);
        let mut unable = false;
        loop {
            let started = Instant::now();
            let ended = session::run(&dials, &registration, |finding| self.report(&finding)).await;
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
        let current = self
            .store
            .read(|state| state.catalog.get(&self.registration.key).cloned());
        if let Some(current) = current {
            self.conclude(&current, finding);
        }
        self.signals.findings.send_modify(|count| *count += 1);
    }

    fn conclude(&self, current: &Instance, finding: &Finding) {
        let now = SystemTime::now();
        let attempts = self.registration.health_check.attempts;
        let (silent, registration) = (self.silent, self.registration.clone());
        let health = finding.judge(&current.health, silent, attempts, now);
        let dead_for = now.duration_since(health.since).unwrap_or_default();
        let gone = health.state == HealthState::Unreachable
            && current.health.state == HealthState::Unreachable
            && dead_for >= self.registration.health_check.deregister_after;
        let command = if gone {
            Command::Evict { registration }
        } else {
            Command::Observe { registration, health }
        };
        match self.store.apply(command) {
            Ok(applied) => applied.changes.iter().for_each(tell),
            Err(error) => tracing::error!(%error, "the store refused a finding"),
        }
    }
}

fn tell(change: &Change) {
    let key = change.key();
    let state = change
        .after
        .as_ref()
        .map(|instance| format!("{:?}", instance.health.state));
    tracing::info!(
        service.name = %key.service,
        instance.id = %key.id,
        revision = change.revision.0,
        state,
        reason = %change.detail,
        "probe changed the catalog"
    );
}
