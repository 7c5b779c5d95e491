//! The leases of instances that cannot be dialled, and when each runs out. Pure: the time is an argument.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::Arc,
    time::SystemTime,
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
        detail: "it holds a lease".to_owned(),
        suspect: false,
        verified: true,
    }
}

/// When something is due for each lease: its end, or what comes after that.
///
/// A renewal moves a deadline in a map and nothing else; the queue has an older time then, which is put right when it
/// comes up. So the queue has about one entry a lease.
#[derive(Debug, Default)]
pub struct Leases {
    leases: HashMap<InstanceKey, Lease>,
    queue: BinaryHeap<Reverse<(Instant, InstanceKey)>>,
}

#[derive(Debug)]
struct Lease {
    registration: Arc<Registration>,
    due: Instant,
    /// The earliest time at which the queue has it, if it does.
    queued: Option<Instant>,
}

impl Leases {
    /// Grants a lease its full time from now on.
    pub fn renew(&mut self, registration: &Arc<Registration>, now: Instant) {
        self.wait(registration, now + registration.health_check.ttl);
    }

    /// Grants a lease to a registration that has none, as one that was read from disk.
    pub fn track(&mut self, registration: &Arc<Registration>, now: Instant) {
        let known = self.leases.get(&registration.key);
        if known.is_none_or(|lease| !Arc::ptr_eq(&lease.registration, registration)) {
            self.renew(registration, now);
        }
    }

    /// Makes a registration due at a time, and no sooner.
    pub fn wait(&mut self, registration: &Arc<Registration>, until: Instant) {
        let lease = self.leases.entry(registration.key.clone()).or_insert_with(|| Lease {
            registration: registration.clone(),
            due: until,
            queued: None,
        });
        lease.registration = registration.clone();
        lease.due = until;
        if lease.queued.is_none_or(|queued| until < queued) {
            lease.queued = Some(until);
            self.queue.push(Reverse((until, registration.key.clone())));
        }
    }

    /// Forgets the lease of an instance that is gone.
    pub fn remove(&mut self, key: &InstanceKey) {
        self.leases.remove(key);
    }

    /// Forgets all leases but those of these instances.
    pub fn retain(&mut self, there: impl Fn(&InstanceKey) -> bool) {
        self.leases.retain(|key, _| there(key));
    }

    /// When to look again; perhaps too early, since leases are renewed.
    pub fn next_due(&self) -> Option<Instant> {
        self.queue.peek().map(|Reverse((due, _))| *due)
    }

    /// The next registration that is due. It is not due again until [`Leases::wait`] or [`Leases::renew`] says so.
    pub fn pop_due(&mut self, now: Instant) -> Option<Arc<Registration>> {
        while self.next_due().is_some_and(|due| due <= now) {
            let Reverse((at, key)) = self.queue.pop()?;
            let Some(lease) = self.leases.get_mut(&key).filter(|lease| lease.queued == Some(at)) else {
                continue;
            };
            if lease.due <= now {
                lease.queued = None;
                return Some(lease.registration.clone());
            }
            lease.queued = Some(lease.due);
            self.queue.push(Reverse((lease.due, key)));
        }
        None
    }
}

#[cfg(test)]
mod tests;
