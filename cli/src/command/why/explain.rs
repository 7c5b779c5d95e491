//! From what the registry knows to an answer. Pure.

use std::time::SystemTime;

use homeroom::proto::registry::v1::{Change, ChangeCause, HealthState, Instance, StoreState};

use super::{
    Facts,
    words::{cause, check, eviction, removal, requirement, similar},
};
use crate::{
    args::Target,
    command::status::{now, problems},
    time,
};

/// How many of its last changes are told of an instance.
const CHANGES_TOLD: usize = 5;
/// A registry that was started this short a time ago may not have everybody back.
const YOUNG_SECONDS: u64 = 60;

/// An answer, with what supports it.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Report {
    /// Whether what was asked for gets traffic.
    pub gets_traffic: bool,
    /// The answer in a sentence.
    pub answer: String,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// The instances that the answer is about, those without traffic first.
    pub instances: Vec<About>,
    /// The last changes of what is not there.
    pub changes: Vec<Change>,
}

/// An answer about an instance.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct About {
    /// Its id.
    pub id: String,
    /// Whether it gets traffic.
    pub gets_traffic: bool,
    /// Whether it may not deserve it.
    pub doubtful: bool,
    /// The answer in a sentence.
    pub answer: String,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// Its last changes, oldest first.
    pub changes: Vec<Change>,
}

/// Explains why a target gets traffic, or doesn't.
pub(super) fn explain(target: &Target, facts: &Facts) -> Report {
    let now = now(&facts.status);
    let mut report = match &target.id {
        Some(id) => match facts.instances.iter().find(|instance| instance.id == id.as_str()) {
            Some(instance) => single(about(instance, facts, now)),
            None => absent(target, facts, now),
        },
        None if facts.instances.is_empty() => absent(target, facts, now),
        None => service(target, facts, now),
    };
    report.notes.extend(problems(&facts.status));
    report
}

fn single(about: About) -> Report {
    Report {
        gets_traffic: about.gets_traffic,
        answer: about.answer.clone(),
        instances: vec![about],
        ..Default::default()
    }
}

fn service(target: &Target, facts: &Facts, now: SystemTime) -> Report {
    let instances = facts.instances.iter();
    let mut instances: Vec<_> = instances.map(|instance| about(instance, facts, now)).collect();
    instances.sort_by_key(|about| (about.gets_traffic, !about.doubtful));
    let serving = instances.iter().filter(|about| about.gets_traffic).count();
    let doubtful = instances
        .iter()
        .filter(|about| about.gets_traffic && about.doubtful)
        .count();
    let doubts = match doubtful {
        0 => String::new(),
        1 => ", one of them in doubt".to_owned(),
        some => format!(", {some} of them in doubt"),
    };
    let answer = match (serving, instances.len()) {
        (0, _) => format!("{target} gets no traffic: {}", nobody_serves(facts)),
        (1, 1) if doubtful == 1 => format!("{target} gets traffic, but its only instance is in doubt"),
        (1, 1) => format!("{target} gets traffic: its only instance is serving"),
        (serving, all) if serving == all => format!("{target} gets traffic: all {all} instances are serving{doubts}"),
        (serving, all) => format!("{target} gets traffic: {serving} of {all} instances are serving{doubts}"),
    };
    Report {
        gets_traffic: serving > 0,
        answer,
        instances,
        ..Default::default()
    }
}

/// Why none of the instances serves: in common, if they have that.
fn nobody_serves(facts: &Facts) -> String {
    let [first, rest @ ..] = &facts.instances[..] else {
        return "it has no instances".to_owned();
    };
    if rest.is_empty() {
        return format!("its only instance, {}, is not serving: {}", first.id, cause(first));
    }
    let reason = |instance: &Instance| instance.health.as_ref().map(|health| health.reason);
    let all = facts.instances.len();
    match rest.iter().all(|instance| reason(instance) == reason(first)) {
        true => format!(
            "none of its {all} instances is serving; of {}: {}",
            first.id,
            cause(first)
        ),
        false => format!("none of its {all} instances is serving, for different reasons"),
    }
}

fn about(instance: &Instance, facts: &Facts, now: SystemTime) -> About {
    let health = instance.health.clone().unwrap_or_default();
    let gets_traffic = health.state() == HealthState::Serving;
    let changes = facts.changes.iter().filter(|change| change.id == instance.id);
    let changes: Vec<_> = changes.cloned().collect();
    let doubt = doubt(instance, &changes, facts);
    let name = format!("{}/{}", instance.service, instance.id);
    let since = time::age(health.since, now);
    let answer = match (gets_traffic, &doubt) {
        (true, Some(doubt)) => format!("{name} gets traffic, but {doubt}"),
        (true, None) => format!("{name} gets traffic: it has been serving for {since}"),
        (false, _) => format!("{name} gets no traffic: {}, for {since}", cause(instance)),
    };
    About {
        id: instance.id.clone(),
        gets_traffic,
        doubtful: doubt.is_some(),
        answer,
        notes: notes(instance, facts, now),
        changes: changes[changes.len().saturating_sub(CHANGES_TOLD)..].to_vec(),
    }
}

/// Why an instance that gets traffic may not deserve it.
fn doubt(instance: &Instance, changes: &[Change], facts: &Facts) -> Option<String> {
    let health = instance.health.clone().unwrap_or_default();
    if health.state() != HealthState::Serving {
        return None;
    }
    let braked = changes
        .last()
        .is_some_and(|change| change.cause() == ChangeCause::Braked);
    let attempts = instance.health_check.as_ref().map_or(0, |check| check.attempts);
    if health.suspect && braked {
        Some("it is silent: only the registry's brake keeps it listed, since many went silent at once".to_owned())
    } else if health.suspect {
        Some(format!(
            "it is suspect: its last probe was silent, and {attempts} in a row hide it"
        ))
    } else if !health.verified && facts.status.start_time.is_some() {
        Some("as it was last seen: nothing has confirmed it since the registry was started".to_owned())
    } else {
        None
    }
}

fn notes(instance: &Instance, facts: &Facts, now: SystemTime) -> Vec<String> {
    let health = instance.health.clone().unwrap_or_default();
    let since = health
        .since
        .map(|since| format!("in this state since {}", time::second(since)));
    let detail = (!health.detail.is_empty()).then(|| format!("the registry says: {}", health.detail));
    let mut notes: Vec<_> = since.into_iter().chain(detail).collect();
    notes.extend(check(instance));
    notes.extend(eviction(instance, now));
    notes.extend(small_share(instance, facts));
    let required = instance.required_services.iter();
    let required: Vec<_> = required.map(|name| requirement(name, &facts.services)).collect();
    let waits = health.state() == HealthState::NotServing && required.iter().any(|(_, is_there)| !is_there);
    notes.extend(required.into_iter().map(|(text, _)| text));
    if waits {
        notes.push("a service that is starting answers NOT_SERVING until all that it requires is there".to_owned());
    }
    notes
}

/// An instance may serve and yet be given next to nothing, by its weight.
fn small_share(instance: &Instance, facts: &Facts) -> Option<String> {
    let weight = |instance: &Instance| u64::from(instance.weight.unwrap_or(100));
    let is_serving = |instance: &&Instance| {
        let health = instance.health.as_ref();
        health.is_some_and(|health| health.state() == HealthState::Serving)
    };
    let own = weight(Some(instance).filter(is_serving)?);
    let all: u64 = facts.instances.iter().filter(is_serving).map(weight).sum();
    (own * 100 < all).then(|| format!("it is given less than 1% of the calls: its weight is {own} of {all} in all"))
}

/// Of what is not registered: when and why it went, or that nobody knows.
fn absent(target: &Target, facts: &Facts, now: SystemTime) -> Report {
    let last = facts.changes.iter().rfind(|change| change.instance.is_none());
    let reason = match (last, &target.id) {
        (Some(change), Some(_)) => format!("it {}", removal(change, now)),
        (Some(change), None) => format!("its last instance, {}, {}", change.id, removal(change, now)),
        (None, _) => format!("it is not registered{}", explained_by_registry(facts, now)),
    };
    Report {
        answer: format!("{target} gets no traffic: {reason}"),
        notes: absent_notes(target, facts, last.is_some()),
        changes: facts.changes[facts.changes.len().saturating_sub(CHANGES_TOLD)..].to_vec(),
        ..Default::default()
    }
}

/// What of the registry itself may keep it from knowing an instance.
fn explained_by_registry(facts: &Facts, now: SystemTime) -> String {
    let store = facts.status.store.as_ref().map(|store| store.state());
    let start_time = facts.status.start_time.and_then(|time| SystemTime::try_from(time).ok());
    let age = start_time.and_then(|start| now.duration_since(start).ok());
    match store {
        Some(StoreState::Full) => ", and the registry refuses registrations: its disk is full".to_owned(),
        Some(StoreState::Failed) => ", and the registry refuses registrations: its disk fails".to_owned(),
        Some(StoreState::Ephemeral) if age.is_some_and(|age| age.as_secs() < YOUNG_SECONDS) => {
            let age = time::age(facts.status.start_time, now);
            format!(", but the registry was started only {age} ago and keeps nothing, so it may be yet to come back")
        }
        _ => String::new(),
    }
}

fn absent_notes(target: &Target, facts: &Facts, is_known: bool) -> Vec<String> {
    let mut notes = Vec::new();
    let held = facts.status.changes;
    if !is_known {
        let all = facts.status.revision == u64::from(held);
        notes.push(match all {
            true => format!("it never was, in all {held} changes since the history began"),
            false => format!("the last {held} changes, which are all that is held, have nothing of it"),
        });
    }
    let ids: Vec<_> = facts
        .instances
        .iter()
        .map(|instance| instance.id.as_str())
        .take(10)
        .collect();
    if let (Some(id), false) = (&target.id, ids.is_empty()) {
        let more = facts.instances.len() - ids.len();
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        notes.push(format!(
            "{} has these instances: {}{more}",
            target.service,
            ids.join(", ")
        ));
        let all = facts.instances.iter().map(|instance| instance.id.as_str());
        notes.extend(similar(id.as_str(), all).map(|id| format!("did you mean {}/{id}?", target.service)));
    }
    if facts.instances.is_empty() {
        let name = target.service.as_str();
        let names = facts.services.iter().map(|service| service.service.as_str());
        if !is_known {
            notes.extend(similar(name, names).map(|name| format!("did you mean {name}?")));
        }
        let requiring = facts
            .services
            .iter()
            .filter(|service| service.required_services.iter().any(|s| s == name));
        let requiring: Vec<_> = requiring.map(|service| service.service.as_str()).collect();
        if !requiring.is_empty() {
            notes.push(format!("it is required by {}", requiring.join(", ")));
        }
    }
    notes
}
