//! Requests that change something.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, header::CONTENT_TYPE};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    ApiServer, built_in,
    compose::{label_with_name, with_spec, with_status},
    kind::{Kind, Strategy},
    object::{self, check_labels, check_name, clients_metadata, seconds, suffix, text, uid},
    requests::merge,
    route::Place,
    rules,
    status::{Cause, Failure, answer, deleted},
    store::{Object, Stored, encode},
};

type Fields = Map<String, Value>;
type Answered = Result<Response<Bytes>, Failure>;

/// How an object is written over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Put,
    Patch,
}

impl ApiServer {
    pub(super) fn create(&mut self, now: Timestamp, place: &Place, kind: &Arc<Kind>, body: &[u8]) -> Answered {
        let fields = object::parse(kind, body)?;
        self.create_object(now, place, kind, fields)
    }

    fn create_object(&mut self, now: Timestamp, place: &Place, kind: &Arc<Kind>, mut fields: Fields) -> Answered {
        let mut given = fields.remove("metadata");
        let claimed = given.as_ref().unwrap_or(&Value::Null);
        let generation = claimed["generation"].as_i64().filter(|generation| *generation != 0);
        let versioned = !matches!(text(claimed, "resourceVersion"), "" | "0");
        check_namespace(place, claimed)?;
        let mut metadata = clients_metadata(given.as_mut());
        let name = match (metadata.get("name"), metadata.get("generateName")) {
            (Some(Value::String(name)), _) => name.clone(),
            (_, Some(Value::String(prefix))) => format!("{prefix}{}", suffix(self.version)),
            _ => String::new(),
        };
        self.check_admission(place, kind, &name)?;

        let mut causes: Vec<Cause> = check_name(&name).into_iter().chain(check_labels(&metadata)).collect();
        metadata.insert("name".to_owned(), json!(name));
        metadata.insert("uid".to_owned(), json!(uid(self.version + 1)));
        metadata.insert("creationTimestamp".to_owned(), seconds(now));
        if kind.namespaced {
            metadata.insert("namespace".to_owned(), json!(place.namespace));
        }
        let mut stored = Stored::Same;
        let value = if let Some(schema) = &kind.schema {
            metadata.insert("generation".to_owned(), json!(1));
            let mut value = Value::Object(fields);
            object::prune(schema, &mut value);
            if kind.has_status
                && let Some(fields) = value.as_object_mut()
            {
                fields.remove("status");
            }
            object::fill(schema, &mut value);
            if kind.has_status && value.get("status").is_some() {
                stored = Stored::WithoutStatus;
            }
            value["metadata"] = Value::Object(metadata);
            check_custom(kind, &name, None, &value, causes)?;
            value
        } else {
            // Most kinds of the server's own have no generation; what a client says is kept.
            if let Some(generation) = generation {
                metadata.insert("generation".to_owned(), json!(generation));
            }
            match kind.strategy {
                Strategy::Namespace => label_with_name(&mut metadata, &name),
                Strategy::Definition => {
                    metadata.insert("generation".to_owned(), json!(1));
                }
                Strategy::Event => causes.extend(built_in::check_place_of_event(&fields, &place.namespace)),
                _ => {}
            }
            let (mut value, refused) = built_in::shape(kind, fields, None)?;
            causes.extend(refused);
            refuse(kind, &name, &causes)?;
            value.insert("metadata".to_owned(), Value::Object(metadata));
            Value::Object(value)
        };
        if versioned {
            return Err(Failure::internal(
                "resourceVersion should not be set on objects to be created",
            ));
        }
        let key = place.key(&name);
        if let Some(existing) = self.newest(kind, &key) {
            return Err(Failure::already_exists(kind, &name, existing.is_being_deleted()));
        }
        let stored = self.store(kind, &key, value, stored);
        if kind.strategy == Strategy::Definition {
            self.define(&stored.value);
        }
        Ok(answer(201, stored.encoded().clone()))
    }

    pub(super) fn update(&mut self, now: Timestamp, place: &Place, kind: &Arc<Kind>, body: &[u8]) -> Answered {
        let mut fields = object::parse(kind, body)?;
        let claimed = fields.get("metadata").unwrap_or(&Value::Null);
        check_claims(place, claimed)?;
        match self.newest(kind, &place.key(&place.name)).cloned() {
            Some(old) => self.replace(place, kind, &old, fields, How::Put),
            None if kind.created_by_update() => {
                let uid = text(claimed, "uid");
                if !uid.is_empty() {
                    return Err(wrong_uid(place, kind, uid, ""));
                }
                if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
                    metadata.remove("resourceVersion");
                }
                self.create_object(now, place, kind, fields)
            }
            None => Err(Failure::not_found(kind, &place.name)),
        }
    }

    pub(super) fn patch(&mut self, place: &Place, kind: &Arc<Kind>, content_type: &str, body: &[u8]) -> Answered {
        if content_type != "application/merge-patch+json" {
            return Err(Failure::new(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types include: \
                 application/merge-patch+json",
            ));
        }
        let Some(old) = self.newest(kind, &place.key(&place.name)).cloned() else {
            return Err(Failure::not_found(kind, &place.name));
        };
        let patch = serde_json::from_slice(body)
            .map_err(|error| Failure::bad_request(format!("error decoding patch: {error}")))?;
        let mut patched = (*old.value).clone();
        merge(&mut patched, patch);
        let Value::Object(fields) = patched else {
            return Err(Failure::bad_request("error decoding patch: it is no object"));
        };
        object::recognize(kind, &fields)?;
        check_claims(place, fields.get("metadata").unwrap_or(&Value::Null))?;
        self.replace(place, kind, &old, fields, How::Patch)
    }

    /// Writes over an object that exists.
    fn replace(&mut self, place: &Place, kind: &Arc<Kind>, old: &Object, fields: Fields, how: How) -> Answered {
        let claimed = fields.get("metadata").unwrap_or(&Value::Null);
        let claimed_uid = text(claimed, "uid");
        if how == How::Put && !claimed_uid.is_empty() && claimed_uid != old.uid() {
            return Err(wrong_uid(place, kind, claimed_uid, old.uid()));
        }
        match text(claimed, "resourceVersion") {
            "" | "0" if kind.updated_unconditionally() => {}
            "" | "0" => {
                let cause = Cause::invalid("metadata.resourceVersion", "0: must be specified for an update");
                return Err(Failure::invalid_resource(kind, &place.name, &[cause]));
            }
            version if version == old.version() => {}
            _ => return Err(Failure::modified(kind, &place.name)),
        }
        let new = if place.subresource == "status" {
            with_status(kind, old, fields)
        } else {
            with_spec(kind, old, fields, &place.name)?
        };
        let (new, causes) = new;
        if kind.schema.is_some() {
            check_custom(kind, &place.name, Some(&old.value), &new, causes)?;
        } else {
            refuse(kind, &place.name, &causes)?;
        }
        let key = place.key(&place.name);
        if old.is_being_deleted() && new["metadata"]["finalizers"].is_null() && kind.strategy != Strategy::Namespace {
            self.remove(kind, &key);
            return Ok(answer(200, encode(&new)));
        }
        if !old.differs_from(&new) {
            return Ok(answer(200, old.encoded().clone()));
        }
        let stored = self.store(kind, &key, new, Stored::Same);
        if kind.strategy == Strategy::Definition && stored.meta()["generation"] != old.meta()["generation"] {
            self.define(&stored.value);
        }
        Ok(answer(200, stored.encoded().clone()))
    }

    pub(super) fn delete(&mut self, now: Timestamp, place: &Place, kind: &Arc<Kind>, body: &[u8]) -> Answered {
        let options: Value = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(body).map_err(|error| Failure::bad_request(error.to_string()))?
        };
        let key = place.key(&place.name);
        let Some(old) = self.newest(kind, &key).cloned() else {
            return Err(Failure::not_found(kind, &place.name));
        };
        check_preconditions(kind, &place.name, &options["preconditions"], &old)?;
        let waits =
            !old.meta()["finalizers"].is_null() || matches!(kind.strategy, Strategy::Namespace | Strategy::Definition);
        if !waits {
            self.remove(kind, &key);
            return Ok(deleted(kind, &place.name, old.uid()));
        }
        if old.is_being_deleted() {
            return Ok(answer(200, old.encoded().clone()));
        }
        let mut new = (*old.value).clone();
        new["metadata"]["deletionTimestamp"] = seconds(now);
        if kind.strategy == Strategy::Namespace {
            new["status"]["phase"] = json!("Terminating");
        } else {
            new["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        }
        if let Some(generation) = old.meta()["generation"].as_i64() {
            new["metadata"]["generation"] = json!(generation + 1);
        }
        let stored = self.store(kind, &key, new, Stored::Same);
        Ok(answer(200, stored.encoded().clone()))
    }

    /// Nothing is created where there is no namespace, or one that ends, nor of a kind that ends.
    fn check_admission(&self, place: &Place, kind: &Kind, name: &str) -> Result<(), Failure> {
        if self.is_being_removed(kind) {
            return Err(Failure::kind_terminating(kind, name));
        }
        if !kind.namespaced {
            return Ok(());
        }
        match self.namespace(&place.namespace) {
            None => Err(Failure::not_found(self.namespace_kind(), &place.namespace)),
            Some(namespace) if namespace.is_being_deleted() => Err(Failure::terminating(kind, name, &place.namespace)),
            Some(_) => Ok(()),
        }
    }
}

/// The content type of a request, without its parameters.
pub(super) fn content_type(request: &http::Request<Bytes>) -> &str {
    let value = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    value.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

fn wrong_uid(place: &Place, kind: &Kind, wanted: &str, found: &str) -> Failure {
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
         UID in precondition: {wanted}, UID in object meta: {found}",
        kind.storage_key(&place.key(&place.name))
    );
    Failure::conflict(kind, &place.name, &why)
}

fn check_namespace(place: &Place, claimed: &Value) -> Result<(), Failure> {
    let namespace = text(claimed, "namespace");
    if namespace.is_empty() || namespace == place.namespace {
        return Ok(());
    }
    Err(Failure::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    ))
}

/// Whether the body speaks of the object that the path names.
fn check_claims(place: &Place, claimed: &Value) -> Result<(), Failure> {
    let name = text(claimed, "name");
    if name.is_empty() {
        return Err(Failure::bad_request("name must be provided"));
    }
    if name != place.name {
        return Err(Failure::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            place.name
        )));
    }
    check_namespace(place, claimed)
}

fn check_preconditions(kind: &Kind, name: &str, wanted: &Value, found: &Object) -> Result<(), Failure> {
    let (uid, version) = (text(wanted, "uid"), text(wanted, "resourceVersion"));
    let why = if !uid.is_empty() && uid != found.uid() {
        format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been \
             deleted and then recreated",
            found.uid()
        )
    } else if !version.is_empty() && version != found.version() {
        format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). \
             The object might have been modified",
            found.version()
        )
    } else {
        return Ok(());
    };
    Err(Failure::precondition(kind, name, &why))
}

/// The errors after which the server does not run CEL.
const BLOCKING: [&str; 5] = [
    "FieldValueNotSupported",
    "FieldValueRequired",
    "FieldValueTooLong",
    "FieldValueTooMany",
    "FieldValueTypeInvalid",
];

/// Validates an object of a custom kind: by its schema, and by its rules unless they could not make sense of it.
fn check_custom(kind: &Kind, name: &str, old: Option<&Value>, new: &Value, found: Vec<Cause>) -> Result<(), Failure> {
    let mut causes = found;
    if let Some(schema) = &kind.schema {
        schema.validate(new, &mut causes);
    }
    if causes.iter().any(|cause| BLOCKING.contains(&cause.reason)) {
        causes.push(Cause::invalid(
            "<nil>",
            "null: some validation rules were not checked because the object was invalid; correct the existing errors \
             to complete validation",
        ));
    } else {
        causes.extend(rules::check(kind, old, new));
    }
    refuse(kind, name, &causes)
}

fn refuse(kind: &Kind, name: &str, causes: &[Cause]) -> Result<(), Failure> {
    if causes.is_empty() {
        Ok(())
    } else {
        Err(Failure::invalid(kind, name, causes))
    }
}
