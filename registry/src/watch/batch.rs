//! What brings a view from one revision to another. Pure.

use std::{collections::BTreeMap, sync::Arc};

use homeroom::model::{Change, Epoch, Instance, InstanceKey, Revision};

use super::Selection;
use crate::store::State;

/// Where a view is: a revision of an epoch.
pub type Position = (Revision, Epoch);

/// What a watcher is told at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Whether the view starts from nothing.
    pub reset: bool,
    /// Instances to put into the view.
    pub updated: Vec<Arc<Instance>>,
    /// Instances to take out of it.
    pub removed: Vec<InstanceKey>,
    /// Where the view is then.
    pub position: Position,
    /// The sum of the hashes of its instances then.
    pub view_hash: u64,
}

impl Batch {
    /// The whole view.
    pub fn snapshot(selection: &Selection, state: &State, view_hash: u64) -> Self {
        Self {
            reset: true,
            updated: selection.shown(&state.catalog).cloned().collect(),
            removed: Vec::new(),
            position: (state.catalog.revision(), state.catalog.epoch()),
            view_hash,
        }
    }

    /// What changes come to for a view that lacks them: the last state of each instance.
    pub fn patch<'h>(
        selection: &Selection,
        changes: impl Iterator<Item = &'h Arc<Change>>,
        position: Position,
        view_hash: u64,
    ) -> Self {
        let (mut updated, mut removed) = (Vec::new(), Vec::new());
        for (key, (before, after)) in merge(changes) {
            let shows = |instance: &&Arc<Instance>| selection.shows(instance);
            match (before.filter(shows), after.filter(shows)) {
                (_, Some(after)) => updated.push(after.clone()),
                (Some(_), None) => removed.push(key.clone()),
                (None, None) => {}
            }
        }
        Self {
            reset: false,
            updated,
            removed,
            position,
            view_hash,
        }
    }

    /// A patch that changes nothing, so that the watcher knows that it has missed nothing.
    pub fn heartbeat(position: Position, view_hash: u64) -> Self {
        Self {
            reset: false,
            updated: Vec::new(),
            removed: Vec::new(),
            position,
            view_hash,
        }
    }
}

/// An instance before the first and after the last of several changes.
type Merged<'h> = (Option<&'h Arc<Instance>>, Option<&'h Arc<Instance>>);

fn merge<'h>(changes: impl Iterator<Item = &'h Arc<Change>>) -> BTreeMap<&'h InstanceKey, Merged<'h>> {
    let mut merged = BTreeMap::new();
    for change in changes {
        let (_, after) = merged.entry(change.key()).or_insert((change.before.as_ref(), None));
        *after = change.after.as_ref();
    }
    merged
}
