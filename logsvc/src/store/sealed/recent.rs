//! What was used last, within bounds. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// Values by key, those used last, of at most so many bytes in all.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    size_bytes_max: usize,
    /// Guards what is there; held for a lookup or a change.
    held: Mutex<Held<K, V>>,
}

#[derive(Debug)]
struct Held<K, V> {
    values: HashMap<K, Value<V>>,
    /// The keys by when they were used, oldest first.
    order: BTreeMap<u64, K>,
    clock: u64,
    size_bytes: usize,
}

#[derive(Debug)]
struct Value<V> {
    value: Arc<V>,
    size_bytes: usize,
    used: u64,
}

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    pub(super) fn new(size_bytes_max: usize) -> Self {
        Self {
            size_bytes_max,
            held: Mutex::new(Held {
                values: HashMap::new(),
                order: BTreeMap::new(),
                clock: 0,
                size_bytes: 0,
            }),
        }
    }

    /// Uses a value.
    pub(super) fn get(&self, key: K) -> Option<Arc<V>> {
        let held = &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let value = held.values.get_mut(&key)?;
        held.order.remove(&value.used);
        held.clock += 1;
        value.used = held.clock;
        held.order.insert(value.used, key);
        Some(value.value.clone())
    }

    /// Adds a value of this size, in place of an older one, and drops what was not used for longest. A value that is
    /// larger than everything may be is not kept. Returns one that was dropped for it.
    pub(super) fn put(&self, key: K, value: Arc<V>, size_bytes: usize) -> Option<Arc<V>> {
        let held = &mut *self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dropped = held.remove(key);
        if size_bytes > self.size_bytes_max {
            return dropped;
        }
        held.clock += 1;
        let used = held.clock;
        held.order.insert(used, key);
        held.values.insert(
            key,
            Value {
                value,
                size_bytes,
                used,
            },
        );
        held.size_bytes += size_bytes;
        while held.size_bytes > self.size_bytes_max
            && let Some((_, oldest)) = held.order.first_key_value()
        {
            dropped = held.remove(*oldest);
        }
        dropped
    }

    /// Drops a value.
    pub(super) fn remove(&self, key: K) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

impl<K: Copy + Eq + Hash, V> Held<K, V> {
    fn remove(&mut self, key: K) -> Option<Arc<V>> {
        let value = self.values.remove(&key)?;
        self.order.remove(&value.used);
        self.size_bytes -= value.size_bytes;
        Some(value.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(recent: &Recent<u64, u64>, key: u64, value: u64, size_bytes: usize) -> Option<u64> {
        recent.put(key, Arc::new(value), size_bytes).map(|dropped| *dropped)
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let recent = Recent::new(30);
        for key in [1, 2, 3] {
            assert_eq!(put(&recent, key, key, 10), None);
        }
        assert_eq!(recent.get(1).as_deref(), Some(&1));
        assert_eq!(put(&recent, 4, 4, 10), Some(2));
        assert_eq!(
            [1, 2, 3, 4].map(|key| recent.get(key).is_some()),
            [true, false, true, true]
        );
        assert_eq!(put(&recent, 3, 5, 30), Some(4));
        assert_eq!(
            [1, 2, 3, 4].map(|key| recent.get(key).is_some()),
            [false, false, true, false]
        );
        assert_eq!(recent.get(3).as_deref(), Some(&5));
    }

    #[test]
    fn what_is_too_large_is_not_kept_and_what_is_dropped_makes_room() {
        let recent = Recent::new(30);
        assert_eq!(put(&recent, 1, 1, 31), None);
        assert!(recent.get(1).is_none());
        assert_eq!(put(&recent, 1, 1, 30), None);
        recent.remove(1);
        assert_eq!(put(&recent, 2, 2, 30), None);
        assert!(recent.get(1).is_none() && recent.get(2).is_some());
    }
}
