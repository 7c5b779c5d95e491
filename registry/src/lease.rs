//! The leases of instances that cannot be dialled, and when each runs out. Pure: the time is an argument.

use std::{
    borrow::Borrow,
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, HashMap},
    hash::{Hash, Hasher},
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, SystemTime},
};

use homeroom::model::{Health, HealthCheckMode, HealthReason, HealthState, InstanceKey, Registration};
use tokio::time::Instant;

/// The health of an instance that has just been registered.
pub fn first_health(registration: &Registration, now: SystemTime) -> Health {
    match registration.health_check.mode {
        HealthCheckMode::Probe => Health::not_probed(now),
        HealthCheckMode::Lease => held(now),
    }
}

/// The health of an instance that holds a lease.
pub fn held(now: SystemTime) -> Health {
    Health {
        state: HealthState::Serving,
        since: now,
        reason: HealthReason::LeaseHeld,
        detail: "it holds a lease".into(),
        suspect: false,
        verified: true,
    }
}

/// When something is due for each lease: its end, or what comes after that.
///
/// A renewal moves a deadline in a map and nothing else; the queue has an older time then, which is put right when it
/// comes up. So the queue has about one entry a lease, and may hold the registration that it was made for a little longer
/// than the catalog.
#[derive(Debug)]
pub struct Leases {
    /// What times are counted from.
    start: Instant,
    leases: HashMap<Leased, Lease>,
    queue: BinaryHeap<Reverse<(Due, Leased)>>,
}

/// A time, as nanoseconds since the start and one more: half of the room of an [`Instant`], or none when there is none.
type Due = NonZeroU64;

/// A registration that holds a lease, in place of its key, which is the longer one.
#[derive(Debug, Clone)]
struct Leased(Arc<Registration>);

impl Borrow<InstanceKey> for Leased {
    fn borrow(&self) -> &InstanceKey {
        &self.0.key
    }
}

impl Hash for Leased {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.key.hash(state);
    }
}

impl PartialEq for Leased {
    fn eq(&self, other: &Self) -> bool {
        self.0.key == other.0.key
    }
}

impl Eq for Leased {}

impl PartialOrd for Leased {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Leased {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key.cmp(&other.0.key)
    }
}

#[derive(Debug)]
struct Lease {
    due: Due,
    /// The earliest time at which the queue has it, if it does.
    queued: Option<Due>,
}

impl Leases {
    /// No leases yet; none will be due before `start`.
    pub fn new(start: Instant) -> Self {
        Self {
            start,
            leases: HashMap::new(),
            queue: BinaryHeap::new(),
        }
    }

    fn due(&self, at: Instant) -> Due {
        let nanos = at.saturating_duration_since(self.start).as_nanos();
        Due::MIN.saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Grants a lease its full time from now on.
    pub fn renew(&mut self, registration: &Arc<Registration>, now: Instant) {
        self.wait(registration, now + registration.health_check.ttl);
    }

    /// Grants a lease to a registration that has none, as one that was read from disk.
    pub fn track(&mut self, registration: &Arc<Registration>, now: Instant) {
        let known = self.leases.get_key_value(&registration.key);
        if known.is_none_or(|(leased, _)| !Arc::ptr_eq(&leased.0, registration)) {
            self.renew(registration, now);
        }
    }

    /// Makes a registration due at a time, and no sooner.
    pub fn wait(&mut self, registration: &Arc<Registration>, until: Instant) {
        let (leased, until) = (Leased(registration.clone()), self.due(until));
        // Taken out, since a map keeps the key that it has, and that may be an older registration.
        let before = self.leases.remove(&registration.key).and_then(|lease| lease.queued);
        let queued = before.filter(|queued| *queued <= until).unwrap_or(until);
        if before != Some(queued) {
            self.queue.push(Reverse((queued, leased.clone())));
        }
        let lease = Lease {
            due: until,
            queued: Some(queued),
        };
        self.leases.insert(leased, lease);
    }

    /// Forgets the lease of an instance that is gone.
    pub fn remove(&mut self, key: &InstanceKey) {
        self.leases.remove(key);
    }

    /// Forgets all leases but those of these instances.
    pub fn retain(&mut self, there: impl Fn(&InstanceKey) -> bool) {
        self.leases.retain(|leased, _| there(&leased.0.key));
    }

    /// When to look again; perhaps too early, since leases are renewed.
    pub fn next_due(&self) -> Option<Instant> {
        let Reverse((due, _)) = self.queue.peek()?;
        Some(self.start + Duration::from_nanos(due.get() - 1))
    }

    /// The next registration that is due. It is not due again until [`Leases::wait`] or [`Leases::renew`] says so.
    pub fn pop_due(&mut self, now: Instant) -> Option<Arc<Registration>> {
        let now = self.due(now);
        while self.queue.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            let Reverse((at, leased)) = self.queue.pop()?;
            let Some(lease) = self.leases.get_mut(&leased).filter(|lease| lease.queued == Some(at)) else {
                continue;
            };
            if lease.due <= now {
                lease.queued = None;
                let (leased, _) = self.leases.get_key_value(&leased)?;
                return Some(leased.0.clone());
            }
            lease.queued = Some(lease.due);
            self.queue.push(Reverse((lease.due, leased)));
        }
        None
    }
}

#[cfg(test)]
mod tests;
