//! What an object becomes when it is written over: what the client gave, and what the server keeps of the old one.

use std::str::FromStr;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    built_in,
    kind::{Kind, Strategy},
    object::{self, check_labels, clients_metadata, text},
    status::{Cause, Failure},
    store::Object,
};

type Fields = Map<String, Value>;

/// A namespace always carries its name as a label.
pub(super) fn label_with_name(metadata: &mut Fields, name: &str) {
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    labels["kubernetes.io/metadata.name"] = json!(name);
}

/// The old object with the status of the new one.
pub(super) fn with_status(kind: &Kind, old: &Object, mut fields: Fields) -> (Value, Vec<Cause>) {
    let kept = old.value.as_object().into_iter().flatten();
    let mut new: Fields = kept
        .filter(|(name, _)| *name != "status")
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut status = fields.remove("status").filter(|status| !status.is_null());
    if let Some(schema) = kind.schema.as_ref().and_then(|schema| schema.property("status")) {
        status = status.or_else(|| schema.default().cloned());
        if let Some(status) = &mut status {
            schema.prune(status);
            schema.fill(status);
        }
    }
    if let Some(status) = status {
        new.insert("status".to_owned(), status);
    }
    (Value::Object(new), Vec::new())
}

/// The new object with what the server keeps of the old one: its status, and the metadata that is not the client's.
pub(super) fn with_spec(
    kind: &Kind,
    old: &Object,
    mut fields: Fields,
    name: &str,
) -> Result<(Value, Vec<Cause>), Failure> {
    let mut given = fields.remove("metadata");
    let mut causes = immutable(given.as_ref().unwrap_or(&Value::Null), old);
    let mut metadata = clients_metadata(given.as_mut());
    causes.extend(check_labels(&metadata));
    causes.extend(new_finalizers(&metadata, old));
    for field in [
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generation",
        "namespace",
        "resourceVersion",
        "uid",
    ] {
        if let Some(value) = old.meta().get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let mut new = match &kind.schema {
        Some(schema) => {
            if kind.has_status {
                fields.remove("status");
            }
            let mut new = Value::Object(fields);
            object::prune(schema, &mut new);
            if kind.has_status
                && let Some(status) = old.value.get("status")
            {
                new["status"] = status.clone();
            }
            object::fill(schema, &mut new);
            new
        }
        None => {
            if kind.strategy == Strategy::Namespace {
                label_with_name(&mut metadata, name);
            }
            let (new, refused) = built_in::shape(kind, fields, Some(&old.value))?;
            causes.extend(refused);
            Value::Object(new)
        }
    };
    if matches!(kind.strategy, Strategy::Custom | Strategy::Definition)
        && let Some(generation) = old.meta()["generation"].as_i64()
        && !same_content(&new, &old.value)
    {
        metadata.insert("generation".to_owned(), json!(generation + 1));
    }
    new["metadata"] = Value::Object(metadata);
    Ok((new, causes))
}

/// Metadata that only the server gives. A creation time is not compared: the old one simply stays.
fn immutable(claimed: &Value, old: &Object) -> Vec<Cause> {
    let instant = |value: &Value| Timestamp::from_str(value.as_str().unwrap_or_default()).ok();
    let mut causes = Vec::new();
    let uid = text(claimed, "uid");
    if !uid.is_empty() && uid != old.uid() {
        causes.push(Cause::invalid("metadata.uid", format!("\"{uid}\": field is immutable")));
    }
    let deletion = &claimed["deletionTimestamp"];
    if !deletion.is_null() && instant(deletion) != instant(&old.meta()["deletionTimestamp"]) {
        causes.push(Cause::invalid(
            "metadata.deletionTimestamp",
            format!("{deletion}: field is immutable"),
        ));
    }
    causes
}

/// An object that is being deleted takes no new finalizers.
fn new_finalizers(metadata: &Fields, old: &Object) -> Option<Cause> {
    let had = old.meta()["finalizers"].as_array();
    let added = metadata.get("finalizers")?.as_array()?;
    let added: Vec<&Value> = added
        .iter()
        .filter(|finalizer| !had.is_some_and(|had| had.contains(finalizer)))
        .collect();
    (old.is_being_deleted() && !added.is_empty()).then(|| Cause {
        reason: "FieldValueForbidden",
        field: "metadata.finalizers".to_owned(),
        message: format!("Forbidden: no new finalizers can be added if the object is being deleted, found {added:?}"),
    })
}

/// Whether two objects differ in nothing but their metadata.
fn same_content(new: &Value, old: &Value) -> bool {
    let fields = |value: &Value| {
        value
            .as_object()
            .map_or(0, |fields| fields.len() - usize::from(fields.contains_key("metadata")))
    };
    fields(new) == fields(old)
        && new
            .as_object()
            .into_iter()
            .flatten()
            .all(|(name, value)| name == "metadata" || old.get(name) == Some(value))
}
