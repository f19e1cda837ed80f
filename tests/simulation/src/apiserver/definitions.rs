//! The definitions of the custom kinds: installed, changed, removed.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use http::Response;
use serde_json::{Map, Value, json};

use super::{
    ApiServer,
    kind::{Kind, Strategy},
    status::{answer, unknown_path},
    store::{Collection, Object, Stored},
};

/// The definitions of this project, as users install them.
const MANIFESTS: [&str; 2] = [
    include_str!("../../../../crds/guestterminations.yaml"),
    include_str!("../../../../crds/genesysconnections.yaml"),
];

/// The newest version of a server that has nothing but the definitions.
pub(super) const FIRST_VERSION: u64 = 100;

/// The definitions as they are stored in every new server, and the kinds that they define. Made once: the schemas are
/// large, and servers are many.
static INSTALLED: LazyLock<Vec<(Arc<Object>, Arc<Kind>)>> = LazyLock::new(|| {
    let read = |manifest: &&str| serde_saphyr::from_str::<Value>(manifest).ok();
    let definitions = MANIFESTS.iter().filter_map(read).enumerate();
    definitions
        .filter_map(|(index, mut definition)| {
            let kind = Arc::new(Kind::defined_by(&definition)?);
            let version = index + 1;
            definition["metadata"] = json!({
                "name": kind.qualified(),
                "uid": format!("00000000-0000-4000-8000-{version:012}"),
                "resourceVersion": version.to_string(),
                "creationTimestamp": "2020-01-01T00:00:00Z",
                "generation": 1,
            });
            Some((Arc::new(Object::new(Arc::new(definition), Stored::Same)), kind))
        })
        .collect()
});

/// The OpenAPI document of a server that still has those definitions.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| {
    let definitions = INSTALLED.iter();
    document(definitions.map(|(definition, kind)| (&*definition.value, &**kind)))
});

impl ApiServer {
    /// Installs the definitions of this project in a new server.
    pub(super) fn install(&mut self) {
        let definitions = self
            .collections
            .iter_mut()
            .find(|collection| collection.kind.strategy == Strategy::Definition);
        if let Some(definitions) = definitions {
            for (version, (definition, kind)) in (1..).zip(INSTALLED.iter()) {
                definitions.put(&kind.qualified(), version, Some(Arc::clone(definition)));
            }
        }
        let custom = INSTALLED.iter().map(|(_, kind)| Collection::new(Arc::clone(kind)));
        self.collections.extend(custom);
        self.document = Some(DOCUMENT.clone());
    }

    /// Serves what a definition defines, from now on.
    pub(super) fn define(&mut self, definition: &Value) {
        self.document = None;
        let Some(kind) = Kind::defined_by(definition).map(Arc::new) else {
            return;
        };
        let version = self.version;
        let known = self
            .collections
            .iter_mut()
            .find(|collection| collection.kind.plural == kind.plural && collection.kind.group == kind.group);
        match known {
            Some(collection) => collection.serve(kind, version),
            None => self.collections.push(Collection::new(kind)),
        }
    }

    /// Ends a definition, such as `guestterminations.guestops.dev`, as its controller does once it is being deleted:
    /// its objects go, then the definition; its watches end, and its paths are unknown.
    pub fn remove_definition(&mut self, name: &str) {
        self.document = None;
        let Some(index) = self
            .collections
            .iter()
            .position(|collection| collection.served && collection.kind.qualified() == name)
        else {
            return;
        };
        let kind = Arc::clone(&self.collections[index].kind);
        if kind.strategy != Strategy::Custom {
            return;
        }
        for key in self.collections[index].keys() {
            self.remove(&kind, &key);
        }
        let definitions = self.definition_kind();
        self.remove(&definitions, name);
        let version = self.version;
        self.collections[index].end(version);
    }

    /// Whether the definition of a kind is being deleted.
    pub(super) fn is_being_removed(&self, kind: &Kind) -> bool {
        kind.strategy == Strategy::Custom
            && self
                .newest(&self.definition_kind(), &kind.qualified())
                .is_some_and(|definition| definition.is_being_deleted())
    }

    /// What the server publishes of a group.
    pub(super) fn open_api(&mut self, group: &str, version: &str) -> Response<Bytes> {
        let served = |collection: &&Collection| {
            collection.served && collection.kind.group == group && collection.kind.version == version
        };
        if !self.collections.iter().any(|collection| served(&collection)) {
            return unknown_path();
        }
        if let Some(document) = &self.document {
            return answer(200, document.clone());
        }
        let definitions = self.definition_kind();
        let kinds = self
            .collections
            .iter()
            .filter(|collection| collection.kind.schema.is_some());
        let kinds = kinds.filter(|collection| collection.served);
        let published = document(kinds.filter_map(|collection| {
            let definition = self.newest(&definitions, &collection.kind.qualified())?;
            Some((&*definition.value, &*collection.kind))
        }));
        self.document = Some(published.clone());
        answer(200, published)
    }

    fn definition_kind(&self) -> Arc<Kind> {
        let kinds = super::kind::built_in();
        Arc::clone(&kinds[kinds.len() - 1])
    }
}

fn document<'a>(kinds: impl Iterator<Item = (&'a Value, &'a Kind)>) -> Bytes {
    let schemas: Map<String, Value> = kinds
        .map(|(definition, kind)| kind.published(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]))
        .collect();
    json!({"openapi": "3.0.0", "components": {"schemas": schemas}})
        .to_string()
        .into()
}
