//! What brings a watcher's view from its revision to the current one. Pure.

use std::{collections::BTreeMap, sync::Arc};

use homeroom::model::{Change, Epoch, Instance, InstanceKey, Revision};

use super::Scope;
use crate::{error::Error, store::State};

/// What a watcher is told at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Whether the view starts from nothing.
    pub reset: bool,
    /// Instances to put into the view.
    pub updated: Vec<Arc<Instance>>,
    /// Instances to take out of it.
    pub removed: Vec<InstanceKey>,
    /// The revision that the view shows then.
    pub revision: Revision,
    /// The sum of the hashes of its instances then.
    pub view_hash: u64,
    /// The epoch of the revision.
    pub epoch: Epoch,
}

impl Batch {
    /// Whether the view stays as it is.
    pub fn is_empty(&self) -> bool {
        !self.reset && self.updated.is_empty() && self.removed.is_empty()
    }
}

/// Where a watcher is, and what it holds.
#[derive(Debug)]
pub struct Patcher {
    scope: Scope,
    position: Option<(Revision, Epoch)>,
    view_hash: u64,
}

impl Patcher {
    /// A watcher that holds the view of its last position, or nothing.
    pub fn new(scope: Scope, position: Option<(Revision, Epoch)>) -> Self {
        Self {
            scope,
            position,
            view_hash: 0,
        }
    }

    /// What the watcher is shown.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The first batch: what was missed since the position, or a snapshot when that is not known any more.
    pub fn first(&mut self, state: &State) -> Batch {
        let resumed = self.position.filter(|(_, epoch)| *epoch == state.catalog.epoch());
        let missed = resumed.and_then(|(revision, _)| state.history.since(revision));
        let Some(missed) = missed else {
            return self.snapshot(state);
        };
        let merged = merge(missed);
        // Then what it was shown before is not known.
        if merged.keys().any(|key| self.scope.depends_on(key)) {
            return self.snapshot(state);
        }
        let mut batch = self.patch(&merged);
        // The hash of the old view is not known, that of the new one is.
        self.view_hash = self
            .scope
            .shown(&state.catalog)
            .map(|instance| instance.view_hash())
            .fold(0, u64::wrapping_add);
        self.moved(&mut batch, state);
        batch
    }

    /// The next batch: everything since the one before, merged to the last state of each instance.
    ///
    /// # Errors
    /// [`Error::InstanceNotFound`] when the instance that is followed is gone.
    pub fn next(&mut self, state: &State) -> Result<Batch, Error> {
        let scope = self.scope.refreshed(&state.catalog)?;
        // Revisions of another epoch may be of changes that were lost.
        let position = self.position.filter(|(_, epoch)| *epoch == state.catalog.epoch());
        let missed = position.and_then(|(revision, _)| state.history.since(revision));
        let (true, Some(missed)) = (scope == self.scope, missed) else {
            self.scope = scope;
            return Ok(self.snapshot(state));
        };
        let merged = merge(missed);
        let mut batch = self.patch(&merged);
        self.moved(&mut batch, state);
        Ok(batch)
    }

    fn snapshot(&mut self, state: &State) -> Batch {
        let updated: Vec<_> = self.scope.shown(&state.catalog).cloned().collect();
        self.view_hash = updated
            .iter()
            .map(|instance| instance.view_hash())
            .fold(0, u64::wrapping_add);
        let mut batch = Batch {
            reset: true,
            updated,
            removed: Vec::new(),
            revision: Revision::default(),
            view_hash: 0,
            epoch: Epoch::default(),
        };
        self.moved(&mut batch, state);
        batch
    }

    fn moved(&mut self, batch: &mut Batch, state: &State) {
        let revision = state.catalog.revision();
        self.position = Some((revision, state.catalog.epoch()));
        batch.revision = revision;
        batch.epoch = state.catalog.epoch();
        batch.view_hash = self.view_hash;
    }

    fn patch(&mut self, merged: &BTreeMap<&InstanceKey, Merged<'_>>) -> Batch {
        let (mut updated, mut removed) = (Vec::new(), Vec::new());
        for (key, change) in merged {
            let shown =
                |instance: &Option<&'_ Arc<Instance>>| instance.filter(|instance| self.scope.shows(instance)).cloned();
            let (before, after) = (shown(&change.before), shown(&change.after));
            let hash = |instance: &Option<Arc<Instance>>| instance.as_ref().map_or(0, |instance| instance.view_hash());
            self.view_hash = self.view_hash.wrapping_sub(hash(&before)).wrapping_add(hash(&after));
            match (before, after) {
                (_, Some(after)) => updated.push(after),
                (Some(_), None) => removed.push((*key).clone()),
                (None, None) => {}
            }
        }
        Batch {
            reset: false,
            updated,
            removed,
            revision: Revision::default(),
            view_hash: 0,
            epoch: Epoch::default(),
        }
    }
}

/// What several changes of one instance come to.
struct Merged<'h> {
    before: Option<&'h Arc<Instance>>,
    after: Option<&'h Arc<Instance>>,
}

fn merge<'h>(changes: impl Iterator<Item = &'h Arc<Change>>) -> BTreeMap<&'h InstanceKey, Merged<'h>> {
    let mut merged = BTreeMap::new();
    for change in changes {
        let entry = merged.entry(change.key()).or_insert_with(|| Merged {
            before: change.before.as_ref(),
            after: None,
        });
        entry.after = change.after.as_ref();
    }
    merged
}
