//! Finds out who is alive: one task and one connection an address, which speaks the gRPC health-checking protocol to it.
//!
//! The prober follows the catalog as a watcher does: a registration that appears is probed, one that is replaced or
//! gone is not any more. A process that dies is noticed by the end of its connection, within milliseconds; what it says of
//! itself by its `Health/Watch`, at once; a host that hangs or vanishes by a sign of life that is missing, which with very
//! many instances are asked for less often: `signs` says how often.
//!
//! Instances that cannot be dialled hold leases instead; their ends are judged as silence is.

mod dial;
mod finding;
mod judge;
mod link;
mod place;
mod report;
mod session;
mod signs;
mod targets;
mod wire;

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
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

use self::{
    finding::Finding,
    judge::Judge,
    place::{Member, Place, PlaceKey},
    report::Reporter,
    session::Ended,
    signs::Signs,
};
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
    /// How many signs of life are asked for in a second.
    pub rate: u32,
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
            rate: settings.probe.rate,
            brake: settings.brake.clone(),
            on_probe: Arc::new(|_, _| ()),
        }
    }
}

/// The probes of all instances.
#[derive(Debug)]
pub struct Prober {
    store: Arc<Store>,
    ground: Arc<Ground>,
    /// Guards the maps only; never held while something is awaited.
    probes: Mutex<Probes>,
    /// Held while an end or a renewal is applied, so that they take effect in the order in which they are noted here.
    leases: Mutex<Leases>,
    leases_changed: Notify,
    followed: watch::Sender<Revision>,
}

/// What all probes share.
#[derive(Debug)]
struct Ground {
    judge: Judge,
    targets: Targets,
    dials: Semaphore,
    signs: Arc<Signs>,
}

/// What is probed where.
#[derive(Debug, Default)]
struct Probes {
    instances: HashMap<InstanceKey, PlaceKey>,
    places: HashMap<PlaceKey, Probe>,
}

/// The running probe of one place; it ends with this.
#[derive(Debug)]
struct Probe {
    place: Arc<Place>,
    _task: AbortOnDropHandle<()>,
}

impl Probes {
    /// Stops to probe an instance.
    fn remove(&mut self, key: &InstanceKey) {
        let Some(place) = self.instances.remove(key) else {
            return;
        };
        if let Entry::Occupied(probe) = self.places.entry(place)
            && probe.get().place.leave(key)
        {
            probe.remove();
        }
    }
}

impl Prober {
    /// A prober of the instances of a store; it works while [`Prober::run`] does.
    pub fn new(store: Arc<Store>, options: Options) -> Self {
        let ground = Ground {
            judge: Judge::new(store.clone(), options.brake, options.on_probe),
            targets: options.targets,
            dials: Semaphore::new(DIALS_MAX),
            signs: Arc::new(Signs::new(options.rate)),
        };
        Self {
            store,
            ground: Arc::new(ground),
            probes: Mutex::default(),
            leases: Mutex::new(Leases::new(Instant::now())),
            leases_changed: Notify::new(),
            followed: watch::Sender::new(Revision::default()),
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
        match self.ground.targets.refused(&registration.address, registrant).await {
            None => Ok(()),
            Some(host) => Err(Error::ProbeNotAllowed {
                address: registration.address.clone(),
                host,
                registrant,
            }),
        }
    }

    /// Renews the lease of an instance. Changes the catalog only when it had expired. Returns the instance as it stands
    /// then; `None` when the registration is gone.
    pub fn renew(&self, instance: &Instance) -> Option<Arc<Instance>> {
        let mut leases = self.lock_leases();
        let before = leases.next_due();
        leases.renew(&instance.registration, Instant::now());
        let current = self
            .ground
            .judge
            .found(&instance.registration, &Finding::LeaseHeld, 0, Duration::ZERO);
        let sooner = before.is_none_or(|before| leases.next_due().is_some_and(|next| next < before));
        drop(leases);
        if sooner {
            self.leases_changed.notify_one();
        }
        current
    }

    /// What the brake does.
    pub fn brake_status(&self) -> BrakeStatus {
        self.ground.judge.brake_status()
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
            let Some(instance) = self.ground.judge.found(&registration, &finding, attempts, ttl) else {
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
                self.remove_all_but(&there);
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
                self.ground.judge.forget(change.key());
            }
        }
    }

    fn track(&self, instance: &Instance) {
        let registration = &instance.registration;
        self.ground.judge.meet(instance);
        if registration.health_check.mode == HealthCheckMode::Lease {
            self.lock().remove(instance.key());
            self.lock_leases().track(registration, Instant::now());
            self.leases_changed.notify_one();
            return;
        }
        self.lock_leases().remove(instance.key());
        let place = place::key_of(instance);
        let mut probes = self.lock();
        if probes
            .instances
            .get(instance.key())
            .is_some_and(|before| *before != place)
        {
            probes.remove(instance.key());
        }
        probes.instances.insert(instance.key().clone(), place.clone());
        match probes.places.entry(place) {
            Entry::Occupied(probe) => probe.get().place.join(registration),
            Entry::Vacant(vacant) => {
                let place = Arc::new(Place::new(vacant.key().clone()));
                place.join(registration);
                let probing = probe(self.ground.clone(), place.clone());
                vacant.insert(Probe {
                    place,
                    _task: AbortOnDropHandle::new(tokio::spawn(inherit(probing))),
                });
            }
        }
    }

    fn remove_all_but(&self, there: &HashSet<&InstanceKey>) {
        let mut probes = self.lock();
        let gone: Vec<_> = probes
            .instances
            .keys()
            .filter(|key| !there.contains(key))
            .cloned()
            .collect();
        gone.iter().for_each(|key| probes.remove(key));
        drop(probes);
        gone.iter().for_each(|key| self.ground.judge.forget(key));
    }

    /// Waits for the verdict of the first probe, or of another one now when the instance was away. Gives up after
    /// `patience`, or when the registration is gone.
    pub async fn verify(&self, instance: &Instance, patience: Duration) {
        let verdict = async {
            let mut followed = self.followed.subscribe();
            // The sender is this prober's.
            let _ = followed.wait_for(|revision| *revision >= instance.revision).await;
            let Some((place, member)) = self.member(instance) else {
                return;
            };
            let seen = match instance.health.state {
                HealthState::Unknown => 0,
                HealthState::Unreachable => member.findings(),
                HealthState::Serving | HealthState::NotServing | HealthState::Draining => return,
            };
            place.changed.notify_one();
            loop {
                // Asked for before looking, so that nothing that happens in between is missed.
                let found = place.found.notified();
                if member.findings() > seen {
                    return;
                }
                found.await;
            }
        };
        // Too late is an answer, too: the health known by then.
        let _ = timeout(patience, verdict).await;
    }

    /// Probes an instance now: it has shown a sign of life.
    pub fn nudge(&self, instance: &Instance) {
        if let Some((place, _)) = self.member(instance) {
            place.changed.notify_one();
        }
    }

    fn member(&self, instance: &Instance) -> Option<(Arc<Place>, Arc<Member>)> {
        let probes = self.lock();
        let place = &probes.places.get(probes.instances.get(instance.key())?)?.place;
        let member = place.member(&instance.registration)?;
        Some((place.clone(), member))
    }

    /// A panic elsewhere cannot leave the maps in a bad state.
    fn lock(&self) -> MutexGuard<'_, Probes> {
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

/// Probes one place for ever.
async fn probe(ground: Arc<Ground>, place: Arc<Place>) {
    let mut reporter = Reporter::new(place.clone(), ground.clone());
    let mut backoff = None;
    let mut unable = false;
    loop {
        let started = Instant::now();
        let ended = session::run(&ground, &place, &mut reporter).await;
        let interval = place.rhythm().interval;
        let mut pause = || {
            backoff
                .get_or_insert_with(|| Backoff::new(RETRY_FIRST.min(interval), interval))
                .next_delay()
        };
        let was_unable = std::mem::replace(&mut unable, matches!(ended, Ended::Unable(_)));
        let next = match ended {
            Ended::WasAlive => {
                reporter.note_hang_up();
                if started.elapsed() >= STABLE_AFTER {
                    backoff = None;
                    Instant::now()
                } else {
                    Instant::now() + pause()
                }
            }
            Ended::Changed => Instant::now(),
            Ended::Refused => Instant::now() + pause(),
            Ended::Silent => started + interval,
            Ended::Unable(error) => {
                if !was_unable {
                    tracing::error!(address = %place.key.0, %error, "cannot probe");
                }
                Instant::now() + LOCAL_PAUSE
            }
        };
        tokio::select! {
            () = sleep_until(next) => {}
            () = place.changed.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests;
