//! What the records of all segments come to. Pure.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use homeroom::{
    model::{Cause, Change, Epoch, Incarnation, Instance, InstanceKey, InvalidField, Revision},
    proto::registry::v1 as proto,
};

use super::record::{Head, Kind, Opened, Reaffirmed};
use crate::{catalog::Catalog, history::History};

/// The state that the records seen so far come to.
#[derive(Debug)]
pub(super) struct Replay {
    history: History,
    instances: BTreeMap<InstanceKey, Arc<Instance>>,
    /// The instances before a head: those that it has unchanged are shared with the history.
    before_head: BTreeMap<InstanceKey, Arc<Instance>>,
    epoch: Epoch,
    revision: Option<Revision>,
    last_incarnation: Incarnation,
    boot_id: String,
    closed: bool,
}

/// How a journal ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LastWriter {
    /// The boot in which it was written.
    pub(super) boot_id: String,
    /// Whether its writer ended in good order.
    pub(super) closed: bool,
}

impl Replay {
    /// Nothing yet, with an empty history.
    pub(super) fn new(history: History) -> Self {
        Self {
            history,
            instances: BTreeMap::new(),
            before_head: BTreeMap::new(),
            epoch: Epoch::default(),
            revision: None,
            last_incarnation: Incarnation::default(),
            boot_id: String::new(),
            closed: false,
        }
    }

    /// The revision of the last change that was seen.
    pub(super) fn revision(&self) -> Revision {
        self.revision.unwrap_or_default()
    }

    /// Notes that records are missing here: what follows does not go on from what was seen.
    pub(super) fn interrupt(&mut self) {
        self.revision = None;
    }

    /// Takes in the next record.
    pub(super) fn see(&mut self, kind: Kind) -> Result<(), String> {
        match kind {
            Kind::Head(head) => self.head(&head),
            Kind::Instance(instance) => {
                let invalid = |error: InvalidField| format!("an instance is not valid: {error}");
                let instance = Instance::try_from(instance).map_err(invalid)?;
                let known = self.before_head.get(instance.key());
                let instance = match known {
                    Some(known) if **known == instance => known.clone(),
                    known => Arc::new(self.shared(instance, known)),
                };
                self.insert(instance);
            }
            Kind::Change(change) => self.change(change)?,
            Kind::Reaffirmed(reaffirmed) => self.reaffirm(&reaffirmed)?,
            Kind::Opened(Opened { boot_id, epoch }) => {
                self.boot_id = boot_id;
                self.epoch = Epoch(epoch);
                self.closed = false;
            }
            Kind::Closed(_) => self.closed = true,
        }
        Ok(())
    }

    fn head(&mut self, head: &Head) {
        let (epoch, revision, last_incarnation) = head.position();
        // While a segment is begun, changes go to the one before it, too.
        match self.revision {
            Some(seen) if seen >= revision => self.history.cut_after(revision),
            _ => self.history.start_after(revision),
        }
        self.before_head = std::mem::take(&mut self.instances);
        self.epoch = epoch;
        self.revision = Some(revision);
        self.last_incarnation = self.last_incarnation.max(last_incarnation);
        self.boot_id.clone_from(&head.boot_id);
        self.closed = false;
    }

    fn change(&mut self, message: proto::Change) -> Result<(), String> {
        let revision = self.revision().next();
        if Revision(message.revision) != revision {
            return Err(format!("revision {} stands where {revision} belongs", message.revision));
        }
        let key = InstanceKey::parse(&message.service, &message.id).map_err(|error| error.to_string())?;
        let before = self.instances.get(&key).cloned();
        let cause = cause(message.cause())?;
        let after = message.instance.map(Instance::try_from).transpose();
        let after = after.map_err(|error| format!("an instance is not valid: {error}"))?;
        let after = after.map(|instance| Arc::new(self.shared(instance, before.as_ref())));
        match &after {
            Some(after) if *after.key() == key => self.insert(after.clone()),
            Some(_) => return Err(format!("a change of `{key}` is about another instance")),
            None if before.is_none() => return Err(format!("`{key}` is removed and was not there")),
            None => drop(self.instances.remove(&key)),
        }
        self.revision = Some(revision);
        self.history.push(Arc::new(Change {
            revision,
            time: time(message.time),
            cause,
            actor: message.actor.into(),
            before,
            after,
        }));
        Ok(())
    }

    fn reaffirm(&mut self, message: &Reaffirmed) -> Result<(), String> {
        let key = InstanceKey::parse(&message.service, &message.id).map_err(|error| error.to_string())?;
        let missing = || format!("`{key}` is registered again and was not there");
        let instance = self.instances.get(&key).ok_or_else(missing)?;
        let instance = Instance {
            incarnation: Incarnation(message.incarnation),
            ..(**instance).clone()
        };
        self.insert(Arc::new(instance));
        Ok(())
    }

    fn insert(&mut self, instance: Arc<Instance>) {
        self.last_incarnation = self.last_incarnation.max(instance.incarnation);
        self.instances.insert(instance.key().clone(), instance);
    }

    /// The instance with the registration that another one has, when it is the same: a registration is known by its place
    /// in memory, and held once. So is what it has in common with that of the instance before it.
    fn shared(&self, mut instance: Instance, other: Option<&Arc<Instance>>) -> Instance {
        if let Some(other) = other
            && other.registration == instance.registration
        {
            instance.registration = other.registration.clone();
        } else if let Some((_, alike)) = self.instances.range(..instance.key()).next_back()
            && let Some(registration) = Arc::get_mut(&mut instance.registration)
        {
            registration.share(&alike.registration);
        }
        instance
    }

    /// The catalog and its history, and who wrote them.
    pub(super) fn finish(self) -> (Catalog, History, LastWriter) {
        let revision = self.revision();
        let instances = self.instances.into_values();
        let catalog = Catalog::restored(self.epoch, revision, self.last_incarnation, instances);
        let writer = LastWriter {
            boot_id: self.boot_id,
            closed: self.closed,
        };
        (catalog, self.history, writer)
    }
}

fn time(message: Option<prost_types::Timestamp>) -> SystemTime {
    message
        .and_then(|time| SystemTime::try_from(time).ok())
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

fn cause(message: proto::ChangeCause) -> Result<Cause, String> {
    use proto::ChangeCause as Message;
    Ok(match message {
        Message::Unspecified => return Err("a change has a cause that this version does not know".to_owned()),
        Message::Registered => Cause::Registered,
        Message::Replaced => Cause::Replaced,
        Message::ProbeFailed => Cause::ProbeFailed,
        Message::Recovered => Cause::Recovered,
        Message::Drained => Cause::Drained,
        Message::Deregistered => Cause::Deregistered,
        Message::Evicted => Cause::Evicted,
        Message::LeaseExpired => Cause::LeaseExpired,
        Message::Braked => Cause::Braked,
        Message::Restored => Cause::Restored,
    })
}
