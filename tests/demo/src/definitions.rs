//! The CustomResourceDefinitions: applied where they are absent, never changed where they are not.

use crate::cluster::Cluster;
use crate::place::checkout;
use crate::progress::waiting;
use anyhow::{Context, bail};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

/// The files of `crds/`, which are what `kubectl apply -f crds/` would apply.
const FILES: [&str; 2] = ["crds/genesysconnections.yaml", "crds/guestterminations.yaml"];

/// A definition of this version.
#[derive(Debug, Clone)]
pub(crate) struct Definition {
    pub(crate) name: String,
    file: &'static str,
    spec: CustomResourceDefinition,
}

/// Those that the cluster does not have. An error if it has one of them in another version: it may be what keeps
/// other people's objects, so it is neither changed nor used.
pub(crate) async fn absent(cluster: &Cluster) -> anyhow::Result<Vec<Definition>> {
    let mut absent = Vec::new();
    for definition in ours()? {
        let found = cluster
            .run(&["get", "crd", &definition.name, "--ignore-not-found", "-o", "json"])
            .await?;
        if found.trim().is_empty() {
            absent.push(definition);
            continue;
        }
        let theirs: CustomResourceDefinition = serde_json::from_str(&found)
            .with_context(|| format!("the cluster's {} is not understood", definition.name))?;
        if theirs.metadata.deletion_timestamp.is_some() {
            bail!(
                "the cluster is just removing {}; run the demo again when it is gone",
                definition.name
            );
        }
        if let Some(path) = difference(&definition.spec, &theirs)? {
            bail!(
                "the cluster has another version of {name} (it differs at {path}), and others may depend on it, so the \
                 demo leaves it alone. Either take a cluster without it, or bring it to this version, if that is yours \
                 to decide (`kubectl apply --server-side -f {file}`), and run the demo again",
                name = definition.name,
                file = definition.file,
            );
        }
    }
    Ok(absent)
}

/// Creates definitions that were absent, and waits until they are served. Not `apply`: one that appeared meanwhile is
/// somebody else's.
pub(crate) async fn create(cluster: &Cluster, absent: &[Definition]) -> anyhow::Result<()> {
    for definition in absent {
        cluster.show_global(&["create", "-f", definition.file]).await?;
    }
    let names: Vec<_> = absent
        .iter()
        .map(|definition| format!("crd/{}", definition.name))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let mut arguments = vec!["wait", "--for=condition=Established", "--timeout=30s"];
    arguments.extend(names.iter().map(String::as_str));
    waiting("the kinds to be served", cluster.run(&arguments))
        .await
        .map(drop)
}

/// Removes definitions that a run created, unless somebody uses them by now. Gives those that stay.
pub(crate) async fn remove(cluster: &Cluster, names: &[String]) -> anyhow::Result<Vec<String>> {
    let mut stay = Vec::new();
    for name in names {
        let there = cluster
            .run(&["get", "crd", name, "--ignore-not-found", "-o", "name"])
            .await?;
        if there.trim().is_empty() {
            continue;
        }
        let used = cluster
            .run(&["get", name, "--all-namespaces", "--ignore-not-found", "-o", "name"])
            .await?;
        if used.trim().is_empty() {
            cluster.run(&["delete", "crd", name, "--timeout=60s"]).await?;
        } else {
            stay.push(name.clone());
        }
    }
    Ok(stay)
}

fn ours() -> anyhow::Result<Vec<Definition>> {
    let read = |file: &'static str| {
        let path = checkout().join(file);
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let spec: CustomResourceDefinition =
            serde_saphyr::from_str(&text).with_context(|| format!("{file} is no CustomResourceDefinition"))?;
        let name = spec
            .metadata
            .name
            .clone()
            .with_context(|| format!("{file} names nothing"))?;
        Ok(Definition { name, file, spec })
    };
    FILES.into_iter().map(read).collect()
}

/// Where two definitions differ first, if they do; what the server fills in is no difference.
fn difference(ours: &CustomResourceDefinition, theirs: &CustomResourceDefinition) -> anyhow::Result<Option<String>> {
    Ok(first_difference(&filled_in(ours)?, &filled_in(theirs)?, "spec"))
}

/// A spec with the values that the server gives to what is absent
/// (<https://kubernetes.io/docs/reference/kubernetes-api/extend-resources/custom-resource-definition-v1/>).
fn filled_in(definition: &CustomResourceDefinition) -> anyhow::Result<Value> {
    let mut spec = serde_json::to_value(&definition.spec)?;
    let kind = &definition.spec.names.kind;
    let defaults = [
        ("/conversion", "strategy", json!("None")),
        ("/names", "listKind", json!(format!("{kind}List"))),
        ("/names", "singular", json!(kind.to_lowercase())),
    ];
    if spec["conversion"].is_null() {
        spec["conversion"] = json!({});
    }
    for (object, key, value) in defaults {
        if let Some(object) = spec.pointer_mut(object).and_then(Value::as_object_mut) {
            object.entry(key).or_insert(value);
        }
    }
    Ok(spec)
}

fn first_difference(ours: &Value, theirs: &Value, path: &str) -> Option<String> {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let keys = ours.keys().chain(theirs.keys().filter(|key| !ours.contains_key(*key)));
            let side = |side: &serde_json::Map<String, Value>, key: &str| side.get(key).cloned().unwrap_or_default();
            keys.into_iter()
                .find_map(|key| first_difference(&side(ours, key), &side(theirs, key), &format!("{path}.{key}")))
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => ours
            .iter()
            .zip(theirs)
            .enumerate()
            .find_map(|(index, (ours, theirs))| first_difference(ours, theirs, &format!("{path}[{index}]"))),
        _ => (ours != theirs).then(|| path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_fills_in_is_no_difference_and_anything_else_is() {
        let ours = ours().unwrap();
        let ours = &ours[1].spec;
        let mut theirs = ours.clone();
        theirs.spec.conversion = Some(serde_json::from_value(json!({"strategy": "None"})).unwrap());
        theirs.spec.names.list_kind = Some("GuestTerminationList".to_owned());
        assert_eq!(difference(ours, &theirs).unwrap(), None);

        theirs.spec.versions[0].additional_printer_columns.as_mut().unwrap()[0].json_path = ".metadata.name".to_owned();
        let path = difference(ours, &theirs).unwrap();
        assert_eq!(
            path.as_deref(),
            Some("spec.versions[0].additionalPrinterColumns[0].jsonPath")
        );

        let mut theirs = ours.clone();
        theirs.spec.versions[0].schema = None;
        assert_eq!(
            difference(ours, &theirs).unwrap().as_deref(),
            Some("spec.versions[0].schema")
        );
    }
}
