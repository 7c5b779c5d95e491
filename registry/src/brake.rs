//! When so many instances go silent at once that the cause is more likely here than there: then silence removes nobody.
//! Pure: the time is an argument.
//!
//! It counts among the instances that have been seen alive: one that goes silent counts from its first silence on, before
//! its attempts are used up, so that the brake is engaged before it would hide the first. Should attempts be used up
//! sooner all the same, those that were hidden within the window are shown again. It is released once no more than half
//! of what engages it is silent; those that still are, are hidden one by one at a bounded rate, as are evictions always.
//! Nothing here stops a refusal, an answer, or a goodbye.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    fmt,
    time::Duration,
};

use homeroom::model::{InstanceId, InstanceKey, ServiceName};
use tokio::time::Instant;

use crate::config::BrakeSettings;

/// The brake of a catalog and of each of its services.
#[derive(Debug)]
pub struct Brake {
    settings: BrakeSettings,
    /// The silences that began within the window, oldest first; some of them are over.
    begun: VecDeque<(Instant, InstanceKey)>,
    all: Scope,
    services: BTreeMap<ServiceName, Service>,
    pace: Pace,
    news: Vec<News>,
}

#[derive(Debug, Default)]
struct Service {
    scope: Scope,
    /// Those that have been seen alive, until they are known to be gone. Few of them are silent, so that only those take
    /// the room that it takes to know since when.
    members: HashMap<InstanceId, Option<Box<Silence>>>,
}

/// Of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Silence {
    began: Instant,
    /// Whether it began within the window.
    recent: bool,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its attempts are not used up.
    Suspect,
    /// They are, and the brake kept it.
    Kept,
    /// They are, and it was hidden; whether it was listed before.
    Hidden { listed: bool },
}

/// What is counted together.
#[derive(Debug, Default)]
struct Scope {
    counts: Counts,
    engaged: Option<Instant>,
}

/// Of the instances of a scope that have been seen alive.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// All of them.
    pub instances: usize,
    /// Whose silence began within the window, hidden or not.
    pub recent: usize,
    /// Who are silent and not hidden.
    pub silent: usize,
    /// Who of them are kept though their attempts are used up.
    pub kept: usize,
}

impl Counts {
    fn add(&mut self, silence: Option<&Silence>) {
        self.instances += 1;
        let Some(silence) = silence else { return };
        self.recent += usize::from(silence.recent);
        self.silent += usize::from(!matches!(silence.stage, Stage::Hidden { .. }));
        self.kept += usize::from(silence.stage == Stage::Kept);
    }

    fn subtract(&mut self, silence: Option<&Silence>) {
        let mut one = Self::default();
        one.add(silence);
        self.instances -= one.instances;
        self.recent -= one.recent;
        self.silent -= one.silent;
        self.kept -= one.kept;
    }
}

/// What is to be done about silence that has used up its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It hides the instance.
    Hide,
    /// The instance stays as it is, and is asked again.
    Keep,
}

/// That the brake was engaged or released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// For which service; `None` for the whole catalog.
    pub service: Option<ServiceName>,
    /// Whether it was engaged.
    pub engaged: bool,
    /// The numbers that led to it.
    pub counts: Counts,
    /// Who was hidden within the window, and is to be shown again.
    pub restore: Vec<InstanceKey>,
}

/// How things stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrakeStatus {
    /// Whether it is engaged for the whole catalog.
    pub engaged: bool,
    /// The services that it is engaged for.
    pub services: Vec<ServiceName>,
    /// For how long it has been engaged, for the whole catalog or a service.
    pub engaged_for: Option<Duration>,
    /// How many instances it keeps.
    pub kept: usize,
    /// What led to it, in words with numbers; empty when it is not engaged.
    pub detail: String,
}

impl Brake {
    /// A brake that knows nobody.
    pub fn new(settings: BrakeSettings, now: Instant) -> Self {
        Self {
            pace: Pace::new(settings.eviction_rate, now),
            settings,
            begun: VecDeque::new(),
            all: Scope::default(),
            services: BTreeMap::new(),
            news: Vec::new(),
        }
    }

    /// Notes that an instance is alive.
    pub fn alive(&mut self, key: &InstanceKey, now: Instant) {
        self.advance(now);
        if self.member(key) != Some(None) {
            self.set(key, Some(None));
            self.judge(&key.service, now);
        }
    }

    /// Notes that an instance is there, as one that was read from disk; what is known of it already stands.
    pub fn meet(&mut self, key: &InstanceKey, now: Instant) {
        if self.member(key).is_none() {
            self.alive(key, now);
        }
    }

    /// Notes that an instance is gone, or has refused: it is none of the brake's business any more.
    pub fn forget(&mut self, key: &InstanceKey, now: Instant) {
        self.advance(now);
        if self.member(key).is_some() {
            self.set(key, None);
            self.judge(&key.service, now);
        }
    }

    /// Notes that an instance is silent, and decides what that means once its attempts are used up. `listed` is whether
    /// it is serving as far as anybody knows.
    pub fn silent(&mut self, key: &InstanceKey, used_up: bool, listed: bool, now: Instant) -> Verdict {
        self.advance(now);
        let Some(member) = self.member(key) else {
            // Never seen alive, or hidden long since: there is nothing to keep.
            return Verdict::Hide;
        };
        let mut silence = member.unwrap_or(Silence {
            began: now,
            recent: true,
            stage: Stage::Suspect,
        });
        if member.is_none() {
            self.begun.push_back((now, key.clone()));
            self.set(key, Some(Some(silence)));
            self.judge(&key.service, now);
        }
        if !used_up || matches!(silence.stage, Stage::Hidden { .. }) {
            return Verdict::Hide;
        }
        let wait = self.is_engaged(&key.service) || (silence.stage == Stage::Kept && !self.pace.take(now));
        silence.stage = if wait { Stage::Kept } else { Stage::Hidden { listed } };
        let over = !wait && !silence.recent;
        self.set(key, (!over).then_some(Some(silence)));
        self.judge(&key.service, now);
        if wait { Verdict::Keep } else { Verdict::Hide }
    }

    /// Whether an instance that has been unreachable for too long may be evicted now; else it is to be asked again.
    pub fn may_evict(&mut self, key: &InstanceKey, now: Instant) -> bool {
        self.advance(now);
        !self.is_engaged(&key.service) && self.pace.take(now)
    }

    /// What has happened since this was asked last.
    pub fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// How things stand.
    pub fn status(&self, now: Instant) -> BrakeStatus {
        let scopes = self.services.iter().map(|(name, service)| (name, &service.scope));
        let engaged = scopes.filter(|(_, scope)| scope.engaged.is_some());
        let services: Vec<_> = engaged.clone().map(|(service, _)| service.clone()).collect();
        let since = engaged
            .filter_map(|(_, scope)| scope.engaged)
            .chain(self.all.engaged)
            .min();
        BrakeStatus {
            engaged: self.all.engaged.is_some(),
            engaged_for: since.map(|since| now.saturating_duration_since(since)),
            kept: self.all.counts.kept,
            detail: match since {
                Some(_) => self.detail(&services),
                None => String::new(),
            },
            services,
        }
    }

    fn detail(&self, services: &[ServiceName]) -> String {
        let all = self.all.engaged.map(|_| (None, self.all.counts));
        let services = services
            .iter()
            .map(|name| (Some(name), self.services[name].scope.counts));
        let parts = all.into_iter().chain(services);
        let parts: Vec<_> = parts
            .map(|(service, counts)| Numbers { service, counts }.to_string())
            .collect();
        parts.join("; ")
    }

    /// Why an instance is kept, in words with numbers.
    pub fn why(&self, key: &InstanceKey) -> String {
        let service = self.services.get(&key.service).map(|service| &service.scope);
        let service = service.filter(|scope| scope.engaged.is_some());
        let numbers = match service {
            _ if self.all.engaged.is_some() => Numbers {
                service: None,
                counts: self.all.counts,
            },
            Some(scope) => Numbers {
                service: Some(&key.service),
                counts: scope.counts,
            },
            None => return "kept until its turn to be hidden comes".to_owned(),
        };
        format!("kept, because {numbers}")
    }

    fn is_engaged(&self, service: &ServiceName) -> bool {
        let service = self.services.get(service);
        self.all.engaged.is_some() || service.is_some_and(|service| service.scope.engaged.is_some())
    }

    /// Lets the silences leave the window that have become old.
    fn advance(&mut self, now: Instant) {
        while let Some((began, _)) = self.begun.front()
            && now.saturating_duration_since(*began) >= self.settings.window
            && let Some((began, key)) = self.begun.pop_front()
        {
            let Some(Some(silence)) = self.member(&key) else {
                continue;
            };
            if silence.began == began && silence.recent {
                let gone = matches!(silence.stage, Stage::Hidden { .. });
                let old = Silence {
                    recent: false,
                    ..silence
                };
                self.set(&key, (!gone).then_some(Some(old)));
                self.judge(&key.service, now);
            }
        }
    }

    /// What is known of an instance.
    fn member(&self, key: &InstanceKey) -> Option<Option<Silence>> {
        let member = self.services.get(&key.service)?.members.get(&key.id)?;
        Some(member.as_deref().copied())
    }

    /// Sets what is known of an instance, and keeps the counts.
    fn set(&mut self, key: &InstanceKey, member: Option<Option<Silence>>) {
        let service = self.services.entry(key.service.clone()).or_default();
        let before = match member {
            Some(member) => service.members.insert(key.id.clone(), member.map(Box::new)),
            None => service.members.remove(&key.id),
        };
        for scope in [&mut self.all, &mut service.scope] {
            if let Some(before) = &before {
                scope.counts.subtract(before.as_deref());
            }
            if let Some(member) = &member {
                scope.counts.add(member.as_ref());
            }
        }
    }

    /// Engages and releases what the counts say, of a service and the catalog.
    fn judge(&mut self, service: &ServiceName, now: Instant) {
        self.judge_scope(None, now);
        self.judge_scope(Some(service), now);
        let idle = |service: &Service| service.members.is_empty() && service.scope.engaged.is_none();
        if self.services.get(service).is_some_and(idle) {
            self.services.remove(service);
        }
    }

    fn judge_scope(&mut self, service: Option<&ServiceName>, now: Instant) {
        let scope = match service {
            None => &mut self.all,
            Some(service) => &mut self.services.entry(service.clone()).or_default().scope,
        };
        let counts = scope.counts;
        let engaged = match (scope.engaged, service.is_some()) {
            (None, of_service) => self.settings.engage(counts, of_service),
            (Some(_), of_service) => !self.settings.release(counts, of_service),
        };
        if engaged == scope.engaged.is_some() {
            return;
        }
        scope.engaged = engaged.then_some(now);
        let restore = if engaged { self.restore(service) } else { Vec::new() };
        self.news.push(News {
            service: service.cloned(),
            engaged,
            counts,
            restore,
        });
    }

    /// Takes back what silence has hidden within the window. Who was not listed before stays hidden, and is counted no
    /// more.
    fn restore(&mut self, service: Option<&ServiceName>) -> Vec<InstanceKey> {
        let mut restored = Vec::new();
        let recent = self.begun.iter().map(|(_, key)| key);
        let recent: Vec<_> = recent
            .filter(|key| service.is_none_or(|service| key.service == *service))
            .cloned()
            .collect();
        for key in recent {
            let Some(Some(silence)) = self.member(&key) else {
                continue;
            };
            let Stage::Hidden { listed } = silence.stage else {
                continue;
            };
            let kept = Silence {
                stage: Stage::Kept,
                ..silence
            };
            self.set(&key, listed.then_some(Some(kept)));
            if listed {
                restored.push(key);
            }
        }
        restored
    }
}

impl BrakeSettings {
    fn engage(&self, counts: Counts, of_service: bool) -> bool {
        let (percent, enough) = if of_service {
            (self.service_percent, counts.instances >= size(self.service_instances))
        } else {
            (self.percent, counts.recent >= size(self.instances))
        };
        enough && counts.recent * 100 > size(percent) * counts.instances
    }

    /// At half of what engages, so that it does not flap.
    fn release(&self, counts: Counts, of_service: bool) -> bool {
        let percent = if of_service { self.service_percent } else { self.percent };
        let few = !of_service && counts.silent * 2 < size(self.instances);
        few || counts.silent * 200 <= size(percent) * counts.instances
    }
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The counts of a scope in words.
struct Numbers<'a> {
    service: Option<&'a ServiceName>,
    counts: Counts,
}

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { instances, silent, .. } = self.counts;
        match self.service {
            Some(service) => write!(f, "{silent} of the {instances} instances of `{service}` are silent"),
            None => write!(f, "{silent} of all {instances} instances are silent"),
        }
    }
}

/// Lets through so many a second, one at a time.
#[derive(Debug)]
struct Pace {
    every: Duration,
    next: Instant,
}

impl Pace {
    fn new(rate: u32, now: Instant) -> Self {
        Self {
            every: Duration::from_secs(1) / rate.max(1),
            next: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let free = self.next <= now;
        if free {
            self.next = now + self.every;
        }
        free
    }
}

#[cfg(test)]
mod tests;
