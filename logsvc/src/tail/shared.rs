//! Steps along the log that several tails take: most follow its end, and many with the same filter, so that what one has
//! read the others need not read again.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OnceCell;

use crate::{
    entry::Encoded,
    error::Error,
    query::{Filter, Found, Limit, Order, Scan},
    store::Store,
};

/// How many steps are kept, each of at most a page: tails at the end of the log differ by few steps, and those further
/// behind would find nothing here anyway.
const STEPS_MAX: usize = 4;

/// The steps that were taken last.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// Guards the steps; never held while one is taken.
    steps: Mutex<VecDeque<Arc<Step>>>,
}

/// What is found from a number on. It stays true: entries are never changed, and those that come later are another step's.
#[derive(Debug)]
struct Step {
    filter: Arc<Filter>,
    after: u64,
    found: OnceCell<Arc<Found<Encoded>>>,
}

impl Shared {
    /// Goes on from the number `after`, by a step that another tail took, takes, or that others may take then.
    ///
    /// Cancel safe: one of the others that wait takes the step instead.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub(super) async fn step(
        &self,
        store: &Arc<Store>,
        filter: &Arc<Filter>,
        after: u64,
        visible: u64,
    ) -> Result<Arc<Found<Encoded>>, Error> {
        let shared = self.find(filter, after);
        let found = shared.found.get_or_try_init(|| async {
            let found = step(store, filter, after, visible).await?;
            Ok(Arc::new(found))
        });
        found.await.cloned()
    }

    fn find(&self, filter: &Arc<Filter>, after: u64) -> Arc<Step> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = steps.iter();
        if let Some(step) = known.find(|step| step.after == after && step.filter == *filter) {
            return step.clone();
        }
        let step = Arc::new(Step {
            filter: filter.clone(),
            after,
            found: OnceCell::new(),
        });
        if steps.len() == STEPS_MAX {
            steps.pop_front();
        }
        steps.push_back(step.clone());
        step
    }

    /// Forgets all steps: nobody is left to take them.
    pub(super) fn clear(&self) {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Goes on from the number `after`.
///
/// # Errors
/// [`Error::Read`].
pub(super) async fn step(
    store: &Arc<Store>,
    filter: &Arc<Filter>,
    after: u64,
    visible: u64,
) -> Result<Found<Encoded>, Error> {
    let scan = Scan::new(filter.clone(), Order::OldestFirst, Limit::PAGE, Some(after), visible);
    Ok(scan.step(store).await?.found())
}
