//! What follows from a finding: the one place where health changes, and where the brake has its say.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use homeroom::model::{Change, Health, HealthState, Instance, InstanceKey, Registration};
use tokio::time::Instant;

use super::finding::Finding;
use crate::{
    brake::{Brake, BrakeStatus, News, Verdict},
    catalog::Command,
    config::BrakeSettings,
    store::Store,
    telling::Telling,
};

/// Told of every finding: what it is called, and how long it took.
pub type OnProbe = Arc<dyn Fn(&'static str, Duration) + Send + Sync>;

/// Judges findings and applies what follows.
pub(super) struct Judge {
    store: Arc<Store>,
    /// Held while a finding is judged and applied, so that what the brake knows and what the catalog shows stay one.
    /// Taken before the store's lock, after that of the leases; never held while something is awaited.
    brake: Mutex<Brake>,
    on_probe: OnProbe,
    telling: Telling,
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge")
            .field("brake", &self.brake)
            .finish_non_exhaustive()
    }
}

impl Judge {
    pub(super) fn new(store: Arc<Store>, brake: BrakeSettings, on_probe: OnProbe) -> Self {
        Self {
            store,
            brake: Mutex::new(Brake::new(brake, Instant::now())),
            on_probe,
            telling: Telling::default(),
        }
    }

    /// Takes in what was found of a registration after so many silent attempts, and how long that took. Returns the
    /// instance as it stands then; `None` when the registration is gone.
    pub(super) fn found(
        &self,
        registration: &Arc<Registration>,
        finding: &Finding,
        silent: u32,
        took: Duration,
    ) -> Option<Arc<Instance>> {
        (self.on_probe)(finding.outcome(), took);
        let mut brake = self.lock();
        let current = self.current(registration)?;
        let health = health(&mut brake, &current, finding, silent);
        let applied = if self.is_overdue(&mut brake, &current, &health) {
            self.apply(Command::Evict {
                registration: registration.clone(),
            })
        } else if health == current.health {
            // As most findings.
            None
        } else {
            self.observe(registration, health)
        };
        for news in brake.take_news() {
            tell_news(&news);
            for key in &news.restore {
                self.restore(&brake, key);
            }
        }
        match applied {
            Some(change) => change.after.clone(),
            None => Some(current),
        }
    }

    /// Takes in that an instance is there.
    pub(super) fn meet(&self, instance: &Instance) {
        let alive = matches!(instance.health.state, HealthState::Serving | HealthState::NotServing);
        if alive && !instance.health.verified {
            self.lock().meet(instance.key(), Instant::now());
        }
    }

    /// Takes in that an instance is gone.
    pub(super) fn forget(&self, key: &InstanceKey) {
        let mut brake = self.lock();
        brake.forget(key, Instant::now());
        brake.take_news().iter().for_each(tell_news);
    }

    pub(super) fn brake_status(&self) -> BrakeStatus {
        self.lock().status(Instant::now())
    }

    fn current(&self, registration: &Arc<Registration>) -> Option<Arc<Instance>> {
        let current = self.store.read(|state| state.catalog.get(&registration.key).cloned());
        current.filter(|current| Arc::ptr_eq(&current.registration, registration))
    }

    fn is_overdue(&self, brake: &mut Brake, current: &Instance, health: &Health) -> bool {
        let dead_for = SystemTime::now().duration_since(health.since).unwrap_or_default();
        health.state == HealthState::Unreachable
            && current.health.state == HealthState::Unreachable
            && dead_for >= current.registration.health_check.deregister_after
            && brake.may_evict(current.key(), Instant::now())
    }

    /// Shows an instance again that was hidden shortly before the brake was engaged.
    fn restore(&self, brake: &Brake, key: &InstanceKey) {
        let Some(current) = self.store.read(|state| state.catalog.get(key).cloned()) else {
            return;
        };
        let health = Health {
            state: HealthState::Serving,
            since: SystemTime::now(),
            detail: format!("{}; {}", current.health.detail, brake.why(key)).into(),
            suspect: true,
            ..current.health.clone()
        };
        self.observe(&current.registration, health);
    }

    fn observe(&self, registration: &Arc<Registration>, health: Health) -> Option<Arc<Change>> {
        self.apply(Command::Observe {
            registration: registration.clone(),
            health,
        })
    }

    fn apply(&self, command: Command) -> Option<Arc<Change>> {
        match self.store.apply(command) {
            Ok(applied) => {
                self.telling.log(&applied.changes, tell);
                applied.changes.into_iter().next()
            }
            Err(error) => {
                tracing::error!(%error, "the store refused a finding");
                None
            }
        }
    }

    /// A panic elsewhere leaves the brake as it was.
    fn lock(&self) -> MutexGuard<'_, Brake> {
        self.brake.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a finding makes of an instance's health, once the brake was asked.
fn health(brake: &mut Brake, current: &Instance, finding: &Finding, silent: u32) -> Health {
    let (key, now) = (current.key(), Instant::now());
    let attempts = current.registration.health_check.attempts;
    let mut verdict = Verdict::Hide;
    if finding.is_answer() {
        brake.alive(key, now);
    } else if finding.is_silence() {
        verdict = brake.silent(key, silent >= attempts, current.is_serving(), now);
    } else {
        brake.forget(key, now);
    }
    match verdict {
        Verdict::Hide => finding.judge(&current.health, silent, attempts, SystemTime::now()),
        Verdict::Keep => finding.kept(&current.health, attempts, &brake.why(key), SystemTime::now()),
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
        reason = %change.detail(),
        "probe changed the catalog"
    );
}

fn tell_news(news: &News) {
    let counts = news.counts;
    let message = if news.engaged {
        "the brake is engaged: so many instances are silent that silence hides none of them"
    } else {
        "the brake is released: instances that are still silent are hidden one by one"
    };
    tracing::warn!(
        service.name = news.service.as_ref().map(tracing::field::display),
        silent = counts.silent,
        instances = counts.instances,
        kept = counts.kept,
        restored = news.restore.len(),
        "{message}"
    );
}

#[cfg(test)]
mod tests;
