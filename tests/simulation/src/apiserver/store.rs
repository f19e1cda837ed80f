//! What the server keeps: every version of every object of a run.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use serde_json::{Value, json};

use super::kind::Kind;

/// What etcd holds of an object, where it is not what the server reads.
#[derive(Clone, Debug)]
pub(super) enum Stored {
    /// The same.
    Same,
    /// All but the status: it was created without one, and each read fills the default in. The next write stores it,
    /// so even a write that changes nothing gives a new version.
    WithoutStatus,
    /// More than today's schema keeps.
    Other(Arc<Value>),
}

/// A value as JSON. `to_string` does the same through a formatter, at twice the cost.
pub(super) fn encode(value: &Value) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// One version of an object.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) value: Arc<Value>,
    pub(super) stored: Stored,
    encoded: OnceLock<Bytes>,
}

impl Object {
    pub(super) fn new(value: Arc<Value>, stored: Stored) -> Self {
        Self {
            value,
            stored,
            encoded: OnceLock::new(),
        }
    }

    pub(super) fn encoded(&self) -> &Bytes {
        self.encoded.get_or_init(|| encode(&self.value))
    }

    pub(super) fn meta(&self) -> &Value {
        &self.value["metadata"]
    }

    pub(super) fn uid(&self) -> &str {
        self.meta()["uid"].as_str().unwrap_or_default()
    }

    pub(super) fn version(&self) -> &str {
        self.meta()["resourceVersion"].as_str().unwrap_or_default()
    }

    pub(super) fn is_being_deleted(&self) -> bool {
        !self.meta()["deletionTimestamp"].is_null()
    }

    /// Whether the object is in that namespace; an empty one is all.
    pub(super) fn is_in(&self, namespace: &str) -> bool {
        namespace.is_empty() || self.meta()["namespace"] == namespace
    }

    /// Whether writing `value` would change what etcd holds.
    pub(super) fn differs_from(&self, value: &Value) -> bool {
        match &self.stored {
            Stored::Same => *self.value != *value,
            Stored::WithoutStatus => true,
            Stored::Other(stored) => **stored != *value,
        }
    }

    /// The object as another schema reads it.
    fn read_by(&self, kind: &Kind) -> Self {
        let stored = match &self.stored {
            Stored::Other(stored) => stored,
            Stored::Same | Stored::WithoutStatus => &self.value,
        };
        let mut value = (**stored).clone();
        if let Some(schema) = &kind.schema {
            super::object::prune(schema, &mut value);
            super::object::fill(schema, &mut value);
        }
        let stored = if value == **stored {
            Stored::Same
        } else {
            Stored::Other(Arc::clone(stored))
        };
        Self::new(Arc::new(value), stored)
    }
}

/// A change of an object.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) version: u64,
    pub(super) before: Option<Arc<Object>>,
    pub(super) after: Option<Arc<Object>>,
    farewell: OnceLock<Bytes>,
}

impl Change {
    /// What a watch is told when the object leaves it: the previous content under the new version.
    pub(super) fn farewell(&self) -> Option<&Bytes> {
        let before = self.before.as_ref()?;
        Some(self.farewell.get_or_init(|| {
            let mut value = (*before.value).clone();
            value["metadata"]["resourceVersion"] = json!(self.version.to_string());
            encode(&value)
        }))
    }
}

/// The versions of one object; `None` is an absence.
#[derive(Clone, Debug, Default)]
struct Versions(Vec<(u64, Option<Arc<Object>>)>);

impl Versions {
    fn at(&self, version: u64) -> Option<&Arc<Object>> {
        let after = self.0.partition_point(|(begin, _)| *begin <= version);
        self.0[..after].last().and_then(|(_, object)| object.as_ref())
    }

    fn newest(&self) -> Option<&Arc<Object>> {
        self.0.last().and_then(|(_, object)| object.as_ref())
    }
}

/// All objects of one kind.
#[derive(Debug)]
pub(super) struct Collection {
    pub(super) kind: Arc<Kind>,
    /// It is served. A custom kind whose definition was removed is not.
    pub(super) served: bool,
    objects: BTreeMap<String, Versions>,
    log: Vec<Arc<Change>>,
    /// The last version of each time that the kind was served in one way. Watches do not outlive such a time.
    pub(super) ended: Vec<u64>,
}

impl Collection {
    pub(super) fn new(kind: Arc<Kind>) -> Self {
        Self {
            kind,
            served: true,
            objects: BTreeMap::new(),
            log: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// The object as it is now.
    pub(super) fn newest(&self, key: &str) -> Option<&Arc<Object>> {
        self.objects.get(key)?.newest()
    }

    /// The object as it was at that version.
    pub(super) fn at(&self, key: &str, version: u64) -> Option<&Arc<Object>> {
        self.objects.get(key)?.at(version)
    }

    /// All objects as they were at that version, in the order of their keys, from `start` on.
    pub(super) fn snapshot(&self, start: &str, version: u64) -> impl Iterator<Item = (&str, &Arc<Object>)> {
        self.objects
            .range::<str, _>((Bound::Included(start), Bound::Unbounded))
            .filter_map(move |(key, versions)| Some((key.as_str(), versions.at(version)?)))
    }

    /// The keys of the objects that exist now.
    pub(super) fn keys(&self) -> Vec<String> {
        let existing = self.objects.iter().filter(|(_, versions)| versions.newest().is_some());
        existing.map(|(key, _)| key.clone()).collect()
    }

    /// The changes after one version, up to another.
    pub(super) fn changes(&self, after: u64, up_to: u64) -> &[Arc<Change>] {
        let begin = self.log.partition_point(|change| change.version <= after);
        let end = self.log.partition_point(|change| change.version <= up_to);
        self.log.get(begin..end).unwrap_or_default()
    }

    /// Makes `after` the newest version of an object; `None` removes it.
    pub(super) fn put(&mut self, key: &str, version: u64, after: Option<Arc<Object>>) -> Arc<Change> {
        let versions = match self.objects.get_mut(key) {
            Some(versions) => versions,
            None => self.objects.entry(key.to_owned()).or_default(),
        };
        let before = versions.newest().cloned();
        versions.0.push((version, after.clone()));
        let change = Arc::new(Change {
            version,
            before,
            after,
            farewell: OnceLock::new(),
        });
        self.log.push(Arc::clone(&change));
        change
    }

    /// Serves another form of the kind from now on: what etcd holds is read through the new schema.
    pub(super) fn serve(&mut self, kind: Arc<Kind>, now: u64) {
        self.end(now);
        self.served = true;
        for versions in self.objects.values_mut() {
            for (_, object) in &mut versions.0 {
                if let Some(object) = object {
                    *object = Arc::new(object.read_by(&kind));
                }
            }
        }
        self.kind = kind;
    }

    /// Ends the time in which the kind was served in one way.
    pub(super) fn end(&mut self, now: u64) {
        self.served = false;
        self.ended.push(now);
    }
}
