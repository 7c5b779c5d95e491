//! What tells which segments surely do not have a trace: of the newest segments, within bounds. Pure.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::store::sidecar::Filter;

/// The filters of segments by their first entries, of at most so many bytes in all.
#[derive(Debug)]
pub(super) struct Filters {
    size_bytes_max: usize,
    /// Guards what is there; held for a lookup or a change.
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    filters: BTreeMap<u64, Arc<Filter>>,
    size_bytes: usize,
}

impl Filters {
    pub(super) fn new(size_bytes_max: usize) -> Self {
        Self {
            size_bytes_max,
            held: Mutex::default(),
        }
    }

    pub(super) fn get(&self, first: u64) -> Option<Arc<Filter>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.filters.get(&first).cloned()
    }

    /// Adds a filter, in place of an older one, and drops those of the oldest segments that have no room.
    pub(super) fn put(&self, first: u64, filter: Filter) {
        let held = &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.remove(first);
        held.size_bytes += filter.size_bytes();
        held.filters.insert(first, Arc::new(filter));
        while held.size_bytes > self.size_bytes_max
            && let Some((&oldest, _)) = held.filters.first_key_value()
        {
            held.remove(oldest);
        }
    }

    /// Drops the filter of a segment.
    pub(super) fn remove(&self, first: u64) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(first);
    }
}

impl Held {
    fn remove(&mut self, first: u64) {
        if let Some(filter) = self.filters.remove(&first) {
            self.size_bytes -= filter.size_bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_of_the_newest_segments_are_kept() {
        // Of eight traces each, so of ten bytes.
        let (filters, filter) = (Filters::new(30), Filter::of_hashes(0..8));
        for first in [3, 1, 5, 4] {
            filters.put(first, filter.clone());
        }
        let kept = || [1, 2, 3, 4, 5].map(|first| filters.get(first).is_some());
        assert_eq!(kept(), [false, false, true, true, true]);
        filters.put(2, filter.clone());
        assert_eq!(kept(), [false, false, true, true, true]);
        filters.remove(4);
        filters.put(3, filter.clone());
        filters.put(2, filter.clone());
        assert_eq!(kept(), [false, true, true, false, true]);
    }
}
