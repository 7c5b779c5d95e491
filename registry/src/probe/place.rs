//! What is probed together: the instances that share an address share a connection and a task.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use homeroom::model::{Address, HealthCheck, Instance, InstanceKey, Registration};
use tokio::sync::Notify;

/// An address, and who may have it probed: what one registrant may name, another may not.
pub(super) type PlaceKey = (Address, Option<IpAddr>);

/// Where an instance is probed.
pub(super) fn key_of(instance: &Instance) -> PlaceKey {
    (instance.registration.address.clone(), instance.registrant)
}

/// One address with its instances; there is at least one while it is probed.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) key: PlaceKey,
    /// Guards the list only; never held while something is awaited.
    members: Mutex<Vec<Arc<Member>>>,
    /// Told when an instance comes or goes, or is to be probed at once.
    pub(super) changed: Notify,
    /// Told when something was found out.
    pub(super) found: Notify,
}

/// A registration that is probed.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) registration: Arc<Registration>,
    findings: AtomicU64,
}

impl Member {
    /// How many findings there were.
    pub(super) fn findings(&self) -> u64 {
        self.findings.load(Ordering::Acquire)
    }

    /// Notes that there was one.
    pub(super) fn note_finding(&self) {
        self.findings.fetch_add(1, Ordering::Release);
    }

    /// The name that its health service is asked for.
    pub(super) fn name(&self) -> &str {
        &self.registration.health_check.service
    }
}

/// How often a place is asked, and how long it is waited for: as the most demanding of its instances says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rhythm {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
}

impl Rhythm {
    /// How many attempts of an instance have been silent, after so many silent attempts of the place within that time.
    /// One that asks for more patience than the place has is given it.
    pub(super) fn silent_attempts(self, check: &HealthCheck, tries: u32, silent_for: Duration) -> u32 {
        if check.interval == self.interval && check.timeout == self.timeout {
            return tries;
        }
        let Some(since_first) = silent_for.checked_sub(check.timeout) else {
            return 0;
        };
        let more = since_first.as_nanos() / check.interval.max(check.timeout).as_nanos();
        tries.min(u32::try_from(more + 1).unwrap_or(u32::MAX))
    }
}

impl Place {
    pub(super) fn new(key: PlaceKey) -> Self {
        Self {
            key,
            members: Mutex::default(),
            changed: Notify::new(),
            found: Notify::new(),
        }
    }

    /// Takes a registration in, in place of an older one of the same name.
    pub(super) fn join(&self, registration: &Arc<Registration>) {
        let mut members = self.lock();
        if members
            .iter()
            .any(|member| Arc::ptr_eq(&member.registration, registration))
        {
            return;
        }
        members.retain(|member| member.registration.key != registration.key);
        members.push(Arc::new(Member {
            registration: registration.clone(),
            findings: AtomicU64::new(0),
        }));
        drop(members);
        self.changed.notify_one();
    }

    /// Takes an instance out. Returns whether none is left.
    pub(super) fn leave(&self, key: &InstanceKey) -> bool {
        let mut members = self.lock();
        members.retain(|member| member.registration.key != *key);
        self.changed.notify_one();
        members.is_empty()
    }

    pub(super) fn members(&self) -> Vec<Arc<Member>> {
        self.lock().clone()
    }

    /// This very registration, if it is here.
    pub(super) fn member(&self, registration: &Arc<Registration>) -> Option<Arc<Member>> {
        let members = self.lock();
        let mut same = members
            .iter()
            .filter(|member| Arc::ptr_eq(&member.registration, registration));
        same.next().cloned()
    }

    pub(super) fn rhythm(&self) -> Rhythm {
        let members = self.lock();
        let checks = || members.iter().map(|member| &member.registration.health_check);
        let default = HealthCheck::default();
        Rhythm {
            interval: checks().map(|check| check.interval).min().unwrap_or(default.interval),
            timeout: checks().map(|check| check.timeout).min().unwrap_or(default.timeout),
        }
    }

    /// A panic elsewhere cannot leave the list in a bad state.
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Member>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(interval: u64, timeout: u64) -> HealthCheck {
        HealthCheck {
            interval: Duration::from_secs(interval),
            timeout: Duration::from_secs(timeout),
            ..HealthCheck::default()
        }
    }

    #[test]
    fn an_instance_is_given_its_own_patience_where_another_is_asked_more_often() {
        let rhythm = Rhythm {
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
        };
        let quick = check(1, 1);
        let slow = check(5, 10);
        for (silent_for, tries, of_quick, of_slow) in [
            (1, 1, 1, 0),
            (9, 9, 9, 0),
            (10, 10, 10, 1),
            (19, 19, 19, 1),
            (20, 20, 20, 2),
            (20, 1, 1, 1),
        ] {
            let silent = |check| rhythm.silent_attempts(check, tries, Duration::from_secs(silent_for));
            assert_eq!(
                (silent(&quick), silent(&slow)),
                (of_quick, of_slow),
                "after {silent_for} s"
            );
        }
    }
}
