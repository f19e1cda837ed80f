//! Whether the cluster stores what this version writes.
//!
//! A CRD that is older than the operator drops fields without a word. A dropped `status.currentAttempt` is a forgotten
//! call: the session would be terminated twice. So the operator looks before it starts.
//!
//! The look is at the served OpenAPI document, which everybody who is authenticated may read; the CRDs themselves need
//! a ClusterRole, which an operator for a single namespace does not have.

use std::{collections::BTreeSet, fmt, sync::LazyLock};

use kube::{CustomResourceExt, Resource};
use serde_json::Value;

use super::{Cluster, ReadError, call::CallError};
use crate::api::{GROUP, GenesysConnection, GuestTermination, VERSION};

/// Whether the installed kinds fit this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compatibility {
    /// Every field that this version knows is stored.
    Compatible,
    /// A kind is not served.
    NotInstalled {
        /// The kinds that are missing.
        kinds: Vec<String>,
    },
    /// Fields would be dropped.
    FieldsMissing {
        /// Their paths, for example `GuestTermination.status.currentAttempt.id`.
        fields: Vec<String>,
    },
}

impl fmt::Display for Compatibility {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const APPLY: &str = "apply the CustomResourceDefinitions of this version: kubectl apply -f crds/";
        match self {
            Self::Compatible => write!(formatter, "the installed kinds fit this version"),
            Self::NotInstalled { kinds } => {
                write!(
                    formatter,
                    "the cluster does not serve {} of {GROUP}/{VERSION}; {APPLY}",
                    kinds.join(" and ")
                )
            }
            Self::FieldsMissing { fields } => {
                let shown = fields.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
                let more = match fields.len().saturating_sub(5) {
                    0 => String::new(),
                    more => format!(" and {more} more"),
                };
                write!(formatter, "the installed kinds do not store {shown}{more}; {APPLY}")
            }
        }
    }
}

impl Cluster {
    /// Compares the served kinds with the types of this version.
    ///
    /// The document follows a new CRD after a moment: ask again while the answer is not
    /// [`Compatible`](Compatibility::Compatible).
    pub async fn compatibility(&self) -> Result<Compatibility, ReadError> {
        let request = http::Request::get(format!("/openapi/v3/apis/{GROUP}/{VERSION}"))
            .body(Vec::new())
            .map_err(|error| ReadError::Unanswered(error.to_string()))?;
        let document = match self.call(request).await {
            Ok(body) => serde_json::from_slice(&body)
                .map_err(|_| ReadError::Undecodable("the OpenAPI document is not JSON".to_owned()))?,
            Err(CallError::Refused(refusal)) if refusal.code == 404 => Value::Null,
            Err(error) => return Err(error.into()),
        };
        Ok(compare(&document, &*WANTED))
    }
}

/// The kinds of this version. They never change, and they are asked for as long as the installed ones do not fit.
static WANTED: LazyLock<[(String, Value); 2]> =
    LazyLock::new(|| [own_schema::<GuestTermination>(), own_schema::<GenesysConnection>()]);

/// A kind and its schema, as this version would write it into a CRD.
fn own_schema<K: CustomResourceExt + Resource<DynamicType = ()>>() -> (String, Value) {
    let versions = K::crd().spec.versions;
    let schema = versions.into_iter().next().and_then(|version| version.schema);
    let schema = schema.and_then(|schema| serde_json::to_value(schema.open_api_v3_schema).ok());
    (K::kind(&()).into_owned(), schema.unwrap_or_default())
}

fn compare(document: &Value, wanted: &[(String, Value)]) -> Compatibility {
    let mut kinds = Vec::new();
    let mut fields = BTreeSet::new();
    for (kind, own) in wanted {
        match served_schema(document, kind) {
            None => kinds.push(kind.clone()),
            Some(served) => {
                for part in ["spec", "status"] {
                    let (own, served) = (&own["properties"][part], &served["properties"][part]);
                    missing(own, served, &format!("{kind}.{part}"), &mut fields);
                }
            }
        }
    }
    if !kinds.is_empty() {
        Compatibility::NotInstalled { kinds }
    } else if !fields.is_empty() {
        Compatibility::FieldsMissing {
            fields: fields.into_iter().collect(),
        }
    } else {
        Compatibility::Compatible
    }
}

/// The schema that the server publishes for a kind.
fn served_schema<'document>(document: &'document Value, kind: &str) -> Option<&'document Value> {
    let schemas = document["components"]["schemas"].as_object()?;
    schemas.values().find(|schema| {
        let names = schema["x-kubernetes-group-version-kind"].as_array();
        names.is_some_and(|names| {
            names
                .iter()
                .any(|name| name["group"] == GROUP && name["version"] == VERSION && name["kind"] == kind)
        })
    })
}

/// Collects the paths that `own` has and `served` has not.
fn missing(own: &Value, served: &Value, path: &str, fields: &mut BTreeSet<String>) {
    if served.is_null() {
        fields.insert(path.to_owned());
        return;
    }
    if served["x-kubernetes-preserve-unknown-fields"] == true {
        return;
    }
    if let Some(properties) = own["properties"].as_object() {
        for (name, property) in properties {
            missing(property, &served["properties"][name], &format!("{path}.{name}"), fields);
        }
    }
    if own["items"].is_object() {
        missing(&own["items"], &served["items"], path, fields);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::testing::{Answer, cluster};

    /// What a server publishes that has the kinds of this version.
    fn document() -> Value {
        let mut schemas = serde_json::Map::new();
        for (kind, mut schema) in WANTED.clone() {
            schema["x-kubernetes-group-version-kind"] = json!([{"group": GROUP, "kind": kind, "version": VERSION}]);
            schemas.insert(format!("dev.guestops.v1alpha1.{kind}"), schema);
        }
        json!({"openapi": "3.0.0", "components": {"schemas": schemas}})
    }

    async fn check(document: Value) -> Compatibility {
        let (cluster, log) = cluster(move |_| Answer::json(200, &document));
        let result = cluster.compatibility().await.unwrap();
        assert_eq!(log.lock().unwrap()[0].target, "/openapi/v3/apis/guestops.dev/v1alpha1");
        result
    }

    fn status(document: &mut Value) -> &mut Value {
        &mut document["components"]["schemas"]["dev.guestops.v1alpha1.GuestTermination"]["properties"]["status"]
    }

    #[tokio::test(start_paused = true)]
    async fn the_kinds_of_this_version_fit() {
        assert_eq!(check(document()).await, Compatibility::Compatible);
    }

    #[tokio::test(start_paused = true)]
    async fn each_field_that_safety_rests_on_is_looked_for() {
        for field in [
            "currentAttempt",
            "mayHaveApplied",
            "settled",
            "finished",
            "attempts",
            "nextAttemptTime",
            "webhooks",
        ] {
            let mut old = document();
            status(&mut old)["properties"]
                .as_object_mut()
                .unwrap()
                .remove(field)
                .unwrap();
            let fields = vec![format!("GuestTermination.status.{field}")];
            assert_eq!(check(old).await, Compatibility::FieldsMissing { fields });
        }
    }

    #[tokio::test(start_paused = true)]
    async fn fields_inside_are_looked_for_too() {
        let mut old = document();
        status(&mut old)["properties"]["currentAttempt"]["properties"]
            .as_object_mut()
            .unwrap()
            .remove("holder");
        let history = &mut status(&mut old)["properties"]["history"]["items"]["properties"];
        history.as_object_mut().unwrap().remove("id").unwrap();
        let Compatibility::FieldsMissing { fields } = check(old).await else {
            panic!("not noticed");
        };
        assert_eq!(
            fields,
            [
                "GuestTermination.status.currentAttempt.holder",
                "GuestTermination.status.history.id"
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_schema_that_keeps_everything_fits() {
        let mut open = document();
        *status(&mut open) = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        assert_eq!(check(open).await, Compatibility::Compatible);
    }

    #[tokio::test(start_paused = true)]
    async fn kinds_that_are_not_there_are_named_with_what_to_do() {
        let (cluster, _) = cluster(|_| Answer::text(404, "404 page not found"));
        let result = cluster.compatibility().await.unwrap();
        let kinds = vec!["GuestTermination".to_owned(), "GenesysConnection".to_owned()];
        assert_eq!(result, Compatibility::NotInstalled { kinds });
        assert!(result.to_string().contains("kubectl apply -f crds/"), "{result}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_down_says_nothing_of_the_kinds() {
        let (cluster, _) = cluster(|_| Answer::text(503, "starting"));
        assert!(matches!(cluster.compatibility().await, Err(ReadError::Unanswered(_))));
    }
}
