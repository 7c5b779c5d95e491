//! What happens to the catalog.

use std::{borrow::Cow, sync::Arc, time::SystemTime};

use super::{Instance, InstanceKey, Revision};

/// What makes a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A new instance was registered.
    Registered,
    /// A registration replaced an older one of the same id.
    Replaced,
    /// A probe was refused, silent, or answered that the instance is not serving.
    ProbeFailed,
    /// A probe succeeded, for the first time or again.
    Recovered,
    /// A drain hid the instance.
    Drained,
    /// The instance was deregistered.
    Deregistered,
    /// The registry removed the instance after it had been unreachable for too long.
    Evicted,
    /// The lease of the instance was not renewed in time.
    LeaseExpired,
    /// The instance has been silent for all its attempts, and the brake keeps it as it was.
    Braked,
    /// The registry was started again: the instance stands as it was last seen.
    Restored,
}

/// One change of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The revision that it made.
    pub revision: Revision,
    /// When it was made.
    pub time: SystemTime,
    /// What made it.
    pub cause: Cause,
    /// Who made it: the address of the caller, or `registry`.
    pub actor: Arc<str>,
    /// The instance before it; `None` when it is new.
    pub before: Option<Arc<Instance>>,
    /// The instance after it; `None` when it was removed.
    pub after: Option<Arc<Instance>>,
}

impl Change {
    /// The cause in words. Made from the rest when somebody asks: changes are held by the ten thousands.
    pub fn detail(&self) -> Cow<'_, str> {
        let (before, after) = (self.before.as_deref(), self.after.as_deref());
        let (before, after) = (before.or(after), after.or(before));
        let Some((before, after)) = before.zip(after) else {
            return Cow::Borrowed("");
        };
        match self.cause {
            Cause::Registered | Cause::Replaced => {
                ["registered at ", after.registration.address.as_str()].concat().into()
            }
            Cause::ProbeFailed | Cause::Recovered | Cause::Drained | Cause::LeaseExpired | Cause::Braked => {
                Cow::Borrowed(&after.health.detail)
            }
            Cause::Deregistered => "deregistered".into(),
            Cause::Evicted => {
                let silent_for = before.registration.health_check.deregister_after;
                format!("unreachable for {silent_for:?}").into()
            }
            Cause::Restored => "restored as it was last seen, and not verified yet".into(),
        }
    }

    /// The instance that changed.
    ///
    /// # Panics
    /// When there is one neither before nor after, which no change is made with.
    pub fn key(&self) -> &InstanceKey {
        self.after
            .as_ref()
            .or(self.before.as_ref())
            .expect("a change has an instance before or after it")
            .key()
    }
}
