//! A model of the Kubernetes API server: pure, synchronous, the same for the same requests.
//!
//! It serves the two kinds of this project, Secrets, Leases, Events, namespaces and definitions, with everything of the
//! real server that the operator and its users can notice: versions and conflicts, generations, the status
//! subresource, schemas, selectors, pages, watches, terminating namespaces and removed kinds. The conformance test
//! holds it against the real server.
//!
//! Not modelled: server-side apply and JSON patch (415), deletion of collections (405), managed fields, CEL other than
//! that of the two kinds (in `rules`), owner references (there is no garbage collector), and the controllers of
//! namespaces and definitions, whose work is done by [`ApiServer::remove_namespace`] and
//! [`ApiServer::remove_definition`].

mod built_in;
mod compose;
mod definitions;
mod kind;
mod object;
mod read;
pub mod requests;
mod route;
mod rules;
mod schema;
mod selector;
mod status;
mod store;
#[cfg(test)]
mod tests;
mod watch;
mod write;

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

pub use watch::Watch;

use kind::Kind;
use read::Form;
use route::{Place, Query, Target};
use status::Failure;
use store::{Collection, Object, Stored};

/// The server.
#[derive(Debug)]
pub struct ApiServer {
    version: u64,
    /// What is older than this cannot be read or watched from any more.
    compacted: u64,
    collections: Vec<Collection>,
    fresh: Vec<Change>,
    refused: BTreeSet<(String, String)>,
    refuses_old_watches: bool,
    document: Option<Bytes>,
}

/// An answer, or an open watch.
#[derive(Debug)]
pub enum Reply {
    /// The whole answer.
    Answer(Response<Bytes>),
    /// 200, and lines as they come.
    Watch(Watch),
}

/// A change that was stored.
#[derive(Clone, Debug)]
pub struct Change {
    /// The object before; `None` if it was created.
    pub before: Option<Arc<Value>>,
    /// The object after; `None` if it was deleted.
    pub after: Option<Arc<Value>>,
}

/// A mark on a request ([`Request::extensions_mut`]): it is a user's, and [`ApiServer::refuse`] is not for it.
#[derive(Clone, Copy, Debug)]
pub struct Administrator;

impl ApiServer {
    /// A server with the kinds of this project, and these namespaces beside `default`.
    pub fn new(now: Timestamp, namespaces: &[&str]) -> Self {
        let mut server = Self {
            version: definitions::FIRST_VERSION,
            compacted: 0,
            collections: kind::built_in().iter().cloned().map(Collection::new).collect(),
            fresh: Vec::new(),
            refused: BTreeSet::new(),
            refuses_old_watches: false,
            document: None,
        };
        server.install();
        for name in std::iter::once(&"default").chain(namespaces) {
            server.handle(
                now,
                None,
                &requests::create(&requests::NAMESPACES, "", &json!({"metadata": {"name": name}})),
            );
        }
        server.fresh.clear();
        server
    }

    /// Takes one request in, at the wall time `now`. `view` is the newest version that reads and new watches see, for a
    /// server behind; `None` is the newest. Writes always act on the newest.
    pub fn handle(&mut self, now: Timestamp, view: Option<u64>, request: &Request<Bytes>) -> Reply {
        let view = view.map_or(self.version, |view| view.min(self.version));
        let place = match route::target(request.uri().path()) {
            Target::OpenApi { group, version } => return Reply::Answer(self.open_api(&group, &version)),
            Target::Resource(place) => place,
            Target::Unknown => return Reply::Answer(status::unknown_path()),
        };
        let Some(kind) = self.served(&place) else {
            return Reply::Answer(if place.group.is_empty() {
                Failure::unknown_resource().into_response()
            } else {
                status::unknown_path()
            });
        };
        match self.dispatch(now, view, &place, &kind, request) {
            Ok(reply) => reply,
            Err(failure) => Reply::Answer(failure.into_response()),
        }
    }

    fn dispatch(
        &mut self,
        now: Timestamp,
        view: u64,
        place: &Place,
        kind: &Arc<Kind>,
        request: &Request<Bytes>,
    ) -> Result<Reply, Failure> {
        let query = Query::read(request.uri().query().unwrap_or_default());
        let verb = route::verb(request.method(), place, &query);
        let refused = self.refused.contains(&(verb.to_owned(), place.resource()));
        if refused && request.extensions().get::<Administrator>().is_none() {
            return Err(Failure::forbidden(
                kind,
                verb,
                &place.resource(),
                &place.namespace,
                &place.name,
            ));
        }
        let form = if route::wants_metadata(request) {
            Form::Metadata
        } else {
            Form::Whole
        };
        if !matches!(place.subresource.as_str(), "" | "status") || (place.subresource == "status" && !kind.has_status) {
            return Err(Failure::not_found(kind, &place.name));
        }
        let named = !place.name.is_empty();
        let placed = !kind.namespaced || !place.namespace.is_empty();
        let body = request.body();
        let answer = match *request.method() {
            Method::GET if query.watch => return self.watch(view, place, kind, &query, form),
            Method::GET if named => self.get(view, place, kind, form),
            Method::GET => self.list(view, place, kind, &query, form),
            Method::POST if !named && placed => self.create(now, place, kind, body),
            Method::PUT if named && placed => self.update(now, place, kind, body),
            Method::PATCH if named && placed => self.patch(place, kind, write::content_type(request), body),
            Method::DELETE if named && placed && place.subresource.is_empty() => self.delete(now, place, kind, body),
            _ => Err(Failure::not_allowed(
                kind,
                format!("{verb} is not supported on resources of kind \"{}\"", kind.qualified()),
            )),
        }?;
        Ok(Reply::Answer(answer))
    }

    /// The newest version.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Forgets what is older than a version: a watch that is not told everything before it gets a 410 in its stream,
    /// and so do continue tokens.
    pub fn compact(&mut self, before: u64) {
        self.compacted = self.compacted.max(before.min(self.version));
    }

    /// Whether the start of a watch from a compacted version is refused with an HTTP 410, as a proxy's cache does. The
    /// server's own way is a 200 with an `ERROR` line.
    pub fn refuse_old_watches(&mut self, refuse: bool) {
        self.refuses_old_watches = refuse;
    }

    /// From now on RBAC refuses a verb (`update`, `list`, `watch` …) on a resource (`secrets`,
    /// `guestterminations/status` …), but to an [`Administrator`].
    pub fn refuse(&mut self, verb: &str, resource: &str) {
        self.refused.insert((verb.to_owned(), resource.to_owned()));
    }

    /// Takes [`refuse`](Self::refuse) back.
    pub fn allow(&mut self, verb: &str, resource: &str) {
        self.refused.remove(&(verb.to_owned(), resource.to_owned()));
    }

    /// What was stored since the last call, in order.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.fresh)
    }

    /// An object as it is now. `namespace` is empty for a kind that is in none.
    pub fn object(&self, resource: &requests::Resource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let collection = self
            .collections
            .iter()
            .find(|collection| collection.kind.group == resource.group && collection.kind.plural == resource.plural)?;
        let place = Place {
            namespace: namespace.to_owned(),
            ..Place::default()
        };
        Some(Arc::clone(&collection.newest(&place.key(name))?.value))
    }

    /// Ends a namespace as its controller does once it is being deleted: what is left in it goes, then the namespace.
    pub fn remove_namespace(&mut self, name: &str) {
        for index in 0..self.collections.len() {
            let collection = &self.collections[index];
            if !collection.kind.namespaced {
                continue;
            }
            let kind = Arc::clone(&collection.kind);
            let prefix = format!("{name}/");
            for key in collection.keys().iter().filter(|key| key.starts_with(&prefix)) {
                self.remove(&kind, key);
            }
        }
        let kind = Arc::clone(self.namespace_kind());
        if self.newest(&kind, name).is_some() {
            self.remove(&kind, name);
        }
    }

    fn served(&self, place: &Place) -> Option<Arc<Kind>> {
        let collection = self.collections.iter().find(|collection| {
            let kind = &collection.kind;
            kind.plural == place.plural && kind.group == place.group && kind.version == place.version
        })?;
        collection.served.then(|| Arc::clone(&collection.kind))
    }

    fn collection(&self, kind: &Kind) -> Option<&Collection> {
        self.collections
            .iter()
            .find(|collection| collection.kind.plural == kind.plural && collection.kind.group == kind.group)
    }

    fn newest(&self, kind: &Kind, key: &str) -> Option<&Arc<Object>> {
        self.collection(kind)?.newest(key)
    }

    fn namespace(&self, name: &str) -> Option<&Arc<Object>> {
        self.newest(self.namespace_kind(), name)
    }

    fn namespace_kind(&self) -> &Arc<Kind> {
        &kind::built_in()[0]
    }

    /// Whether what came after a version cannot be told any more.
    fn is_compacted(&self, version: u64) -> bool {
        version + 1 < self.compacted
    }

    fn store(&mut self, kind: &Kind, key: &str, mut value: Value, stored: Stored) -> Arc<Object> {
        value["metadata"]["resourceVersion"] = json!((self.version + 1).to_string());
        let object = Arc::new(Object::new(Arc::new(value), stored));
        self.put(kind, key, Some(Arc::clone(&object)));
        object
    }

    fn remove(&mut self, kind: &Kind, key: &str) {
        self.put(kind, key, None);
    }

    fn put(&mut self, kind: &Kind, key: &str, object: Option<Arc<Object>>) {
        let found = self
            .collections
            .iter_mut()
            .find(|collection| collection.kind.plural == kind.plural && collection.kind.group == kind.group);
        let Some(collection) = found else { return };
        self.version += 1;
        let change = collection.put(key, self.version, object);
        let value = |object: &Option<Arc<Object>>| object.as_ref().map(|object| Arc::clone(&object.value));
        self.fresh.push(Change {
            before: value(&change.before),
            after: value(&change.after),
        });
    }
}
