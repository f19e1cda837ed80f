//! Signing keys that were read a moment ago.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use crate::{schedule::Moment, webhook::sign::SigningKeys};

/// Namespace, Secret, key and previous key.
pub(super) type Place = (String, String, String, Option<String>);

/// Signing keys that were read a moment ago: a thousand webhooks at once are not a thousand reads.
#[derive(Default)]
pub struct SigningKeysCache(Mutex<BTreeMap<Place, (SigningKeys, Moment)>>);

impl SigningKeysCache {
    /// The keys of a place, if they were read not before that.
    pub(super) fn get(&self, place: &Place, not_before: Moment) -> Option<SigningKeys> {
        let cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        cache
            .get(place)
            .filter(|(_, at)| *at >= not_before)
            .map(|(keys, _)| keys.clone())
    }

    /// Keeps the keys of a place.
    pub(super) fn put(&self, place: Place, keys: SigningKeys, now: Moment) {
        let mut cache = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.len() >= 1024 {
            cache.clear();
        }
        cache.insert(place, (keys, now));
    }
}
