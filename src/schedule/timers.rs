//! Keys that are due at a moment: earliest first, in the order they came at the same moment.

use std::collections::BTreeMap;

use super::Moment;

/// A set of timers, at most one for each key.
#[derive(Debug)]
pub(super) struct Timers<K> {
    by_due: BTreeMap<(Moment, u64), K>,
    by_key: BTreeMap<K, (Moment, u64)>,
    sequence: u64,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self {
            by_due: BTreeMap::new(),
            by_key: BTreeMap::new(),
            sequence: 0,
        }
    }
}

impl<K: Ord + Clone> Timers<K> {
    /// Sets the timer of a key, in place of the one it had.
    pub(super) fn set(&mut self, key: K, due: Moment) {
        self.cancel(&key);
        self.sequence += 1;
        let place = (due, self.sequence);
        self.by_due.insert(place, key.clone());
        self.by_key.insert(key, place);
    }

    /// Takes the timer of a key away.
    pub(super) fn cancel(&mut self, key: &K) {
        if let Some(place) = self.by_key.remove(key) {
            self.by_due.remove(&place);
        }
    }

    /// Takes the first key that is due.
    pub(super) fn pop(&mut self, now: Moment) -> Option<K> {
        let (&(due, _), _) = self.by_due.first_key_value()?;
        if due > now {
            return None;
        }
        let (_, key) = self.by_due.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// When the next key is due.
    pub(super) fn next_due(&self) -> Option<Moment> {
        self.by_due.first_key_value().map(|(&(due, _), _)| due)
    }

    /// How many keys wait.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}
