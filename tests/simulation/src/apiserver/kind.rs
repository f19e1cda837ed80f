//! The kinds that the server serves.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};

use super::{
    schema::Schema,
    status::{details, qualified},
};

/// What is done with objects of a kind beyond storing them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    Custom,
    Secret,
    Lease,
    Event,
    Namespace,
    Definition,
}

/// A kind.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) plural: String,
    pub(super) name: String,
    pub(super) namespaced: bool,
    pub(super) strategy: Strategy,
    /// The schema of a custom kind.
    pub(super) schema: Option<Schema>,
    /// Its status can only be written through the subresource.
    pub(super) has_status: bool,
    /// The fields that can be selected by, each with its label and its path.
    pub(super) selectable: Vec<(String, Vec<String>)>,
}

impl Kind {
    fn built_in(group: &str, version: &str, plural: &str, name: &str, strategy: Strategy) -> Self {
        Self {
            group: group.to_owned(),
            version: version.to_owned(),
            plural: plural.to_owned(),
            name: name.to_owned(),
            namespaced: !matches!(strategy, Strategy::Namespace | Strategy::Definition),
            strategy,
            schema: None,
            has_status: false,
            selectable: Vec::new(),
        }
    }

    /// The kind that a CustomResourceDefinition defines, in its first version; `None` if it defines none.
    pub(super) fn defined_by(definition: &Value) -> Option<Self> {
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let version = spec["versions"].as_array()?.first()?;
        let selectable = version["selectableFields"].as_array().into_iter().flatten();
        let selectable = selectable
            .filter_map(|field| field["jsonPath"].as_str())
            .map(|path| path.trim_start_matches('.'))
            .map(|label| (label.to_owned(), label.split('.').map(str::to_owned).collect()))
            .collect();
        Some(Self {
            group: text(&spec["group"])?,
            version: text(&version["name"])?,
            plural: text(&spec["names"]["plural"])?,
            name: text(&spec["names"]["kind"])?,
            namespaced: spec["scope"] == "Namespaced",
            strategy: Strategy::Custom,
            schema: Some(Schema::read(&version["schema"]["openAPIV3Schema"])),
            has_status: version["subresources"]["status"].is_object(),
            selectable,
        })
    }

    pub(super) fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    pub(super) fn qualified(&self) -> String {
        qualified(&self.plural, &self.group)
    }

    /// The details of a `Status` about an object of this kind.
    pub(super) fn details(&self, name: &str) -> Value {
        details(name, &self.group, &self.plural)
    }

    /// The group that a 422 names: Events are stored, and refused, as those of the core group.
    pub(super) fn error_group(&self) -> &str {
        if self.strategy == Strategy::Event {
            ""
        } else {
            &self.group
        }
    }

    /// Where the store keeps an object of this kind, as its errors say.
    pub(super) fn storage_key(&self, key: &str) -> String {
        let group = match self.strategy {
            Strategy::Custom => format!("{}/", self.group),
            _ => String::new(),
        };
        format!("/registry/{group}{}/{key}", self.plural)
    }

    /// A PUT of an object that does not exist creates it.
    pub(super) fn created_by_update(&self) -> bool {
        matches!(self.strategy, Strategy::Lease | Strategy::Event)
    }

    /// A PUT without a resourceVersion is taken as if it had the newest.
    pub(super) fn updated_unconditionally(&self) -> bool {
        matches!(self.strategy, Strategy::Secret | Strategy::Event | Strategy::Namespace)
    }

    /// What the server publishes of a custom kind, but for its group.
    pub(super) fn published(&self, schema: &Value) -> (String, Value) {
        let mut schema = schema.clone();
        schema["x-kubernetes-group-version-kind"] =
            json!([{"group": self.group, "kind": self.name, "version": self.version}]);
        let reversed: Vec<&str> = self.group.rsplit('.').collect();
        let name = format!("{}.{}.{}", reversed.join("."), self.version, self.name);
        (name, schema)
    }
}

/// The kinds that every server has.
pub(super) fn built_in() -> &'static [Arc<Kind>] {
    static KINDS: LazyLock<Vec<Arc<Kind>>> = LazyLock::new(|| {
        [
            ("", "v1", "namespaces", "Namespace", Strategy::Namespace),
            ("", "v1", "secrets", "Secret", Strategy::Secret),
            ("coordination.k8s.io", "v1", "leases", "Lease", Strategy::Lease),
            ("events.k8s.io", "v1", "events", "Event", Strategy::Event),
            (
                "apiextensions.k8s.io",
                "v1",
                "customresourcedefinitions",
                "CustomResourceDefinition",
                Strategy::Definition,
            ),
        ]
        .into_iter()
        .map(|(group, version, plural, name, strategy)| {
            Arc::new(Kind::built_in(group, version, plural, name, strategy))
        })
        .collect()
    });
    &KINDS
}
