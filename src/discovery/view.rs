//! A watcher's copy of the catalog. Pure: applies snapshots and patches, and checks that nothing was lost.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    model::{Epoch, Instance, InstanceKey, InvalidField, Revision},
    proto::registry::v1::WatchServicesResponse,
};

/// The instances that a watcher knows, and where in the registry's history it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    instances: BTreeMap<InstanceKey, Arc<Instance>>,
    revision: Revision,
    epoch: Epoch,
    hash: u64,
    partial: bool,
}

/// Why a message cannot be applied. The watcher must ask for a snapshot.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// The view is not what the registry holds: a change was lost.
    #[error("the view at revision {revision} does not have the registry's hash")]
    HashMismatch {
        /// The revision that the view should show.
        revision: Revision,
    },
    /// The message belongs to another history.
    #[error("the registry's epoch changed without a reset")]
    ForeignEpoch,
    /// The message names something that is not valid.
    #[error("the registry sent an invalid instance: {0}")]
    Invalid(#[from] InvalidField),
}

impl View {
    /// Applies one message of the stream. After an error the view is undefined.
    ///
    /// # Errors
    /// When the result is not what the registry holds.
    pub fn apply(&mut self, message: WatchServicesResponse) -> Result<(), ViewError> {
        if message.reset {
            *self = Self {
                epoch: Epoch(message.epoch),
                ..Self::default()
            };
        }
        if self.epoch != Epoch(message.epoch) {
            return Err(ViewError::ForeignEpoch);
        }
        for key in message.removed {
            self.remove(&key.try_into()?);
        }
        for instance in message.updated {
            let instance = Arc::new(Instance::try_from(instance)?);
            self.remove(instance.key());
            self.hash = self.hash.wrapping_add(instance.view_hash());
            self.instances.insert(instance.key().clone(), instance);
        }
        self.revision = Revision(message.revision);
        self.partial = message.more;
        if !self.partial && self.hash != message.view_hash {
            return Err(ViewError::HashMismatch {
                revision: self.revision,
            });
        }
        Ok(())
    }

    fn remove(&mut self, key: &InstanceKey) {
        if let Some(old) = self.instances.remove(key) {
            self.hash = self.hash.wrapping_sub(old.view_hash());
        }
    }

    /// Whether the view shows one revision as a whole; between the parts of a message it does not.
    pub fn is_consistent(&self) -> bool {
        !self.partial
    }

    /// Where to resume: the revision and epoch of a consistent view, zero before the first snapshot.
    pub fn position(&self) -> (Revision, Epoch) {
        (self.revision, self.epoch)
    }

    /// The instances, by service and id.
    pub fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.instances.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::registry::v1 as proto;

    fn instance(id: &str, revision: u64) -> proto::Instance {
        proto::Instance {
            service: "s".to_owned(),
            id: id.to_owned(),
            address: "127.0.0.1:1".to_owned(),
            revision,
            ..Default::default()
        }
    }

    fn hash(instances: &[(&str, u64)]) -> u64 {
        let hash = |(id, revision): &(&str, u64)| {
            let instance = Instance::try_from(instance(id, *revision)).expect("a valid instance");
            instance.view_hash()
        };
        instances.iter().map(hash).fold(0, u64::wrapping_add)
    }

    fn message(revision: u64, updated: &[(&str, u64)], view: &[(&str, u64)]) -> WatchServicesResponse {
        WatchServicesResponse {
            revision,
            epoch: 9,
            updated: updated.iter().map(|(id, revision)| instance(id, *revision)).collect(),
            view_hash: hash(view),
            ..Default::default()
        }
    }

    fn snapshot(revision: u64, updated: &[(&str, u64)]) -> WatchServicesResponse {
        WatchServicesResponse {
            reset: true,
            ..message(revision, updated, updated)
        }
    }

    fn ids(view: &View) -> Vec<&str> {
        view.instances().map(|instance| instance.key().id.as_str()).collect()
    }

    #[test]
    fn the_hash_is_the_documented_one() {
        // FNV-1a of "s\0a\07", as any language computes it.
        let by_hand = b"s\0a\x007".iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
        });
        assert_eq!(hash(&[("a", 7)]), by_hand);
    }

    #[test]
    fn patches_update_and_remove() {
        let mut view = View::default();
        view.apply(snapshot(2, &[("a", 1), ("b", 2)])).expect("a snapshot");
        view.apply(message(3, &[("a", 3)], &[("a", 3), ("b", 2)]))
            .expect("an update");
        let mut removal = message(4, &[], &[("a", 3)]);
        removal.removed = vec![proto::InstanceKey {
            service: "s".to_owned(),
            id: "b".to_owned(),
        }];
        view.apply(removal).expect("a removal");
        assert_eq!(ids(&view), ["a"]);
        assert_eq!(view.position(), (Revision(4), Epoch(9)));
    }

    #[test]
    fn a_lost_change_is_noticed() {
        let mut view = View::default();
        view.apply(snapshot(2, &[("a", 1), ("b", 2)])).expect("a snapshot");
        let error = view
            .apply(message(4, &[("a", 4)], &[("a", 4), ("b", 3)]))
            .expect_err("b was changed too");
        assert_eq!(error, ViewError::HashMismatch { revision: Revision(4) });
    }

    #[test]
    fn a_view_is_consistent_only_after_the_last_part() {
        let mut view = View::default();
        let mut first = snapshot(2, &[("a", 1)]);
        first.more = true;
        first.view_hash = 0;
        view.apply(first).expect("a first part");
        assert!(!view.is_consistent());
        view.apply(message(2, &[("b", 2)], &[("a", 1), ("b", 2)]))
            .expect("the last part");
        assert!(view.is_consistent());
    }

    #[test]
    fn a_reset_empties_the_view_and_starts_another_history() {
        let mut view = View::default();
        view.apply(snapshot(2, &[("a", 1)])).expect("a snapshot");
        let mut foreign = message(1, &[], &[]);
        foreign.epoch = 10;
        assert_eq!(view.clone().apply(foreign), Err(ViewError::ForeignEpoch));
        view.apply(snapshot(1, &[("c", 1)])).expect("another snapshot");
        assert_eq!(ids(&view), ["c"]);
    }
}
