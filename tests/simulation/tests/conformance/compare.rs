//! What two answers must have in common.
//!
//! Versions, uids and times differ between two servers. What is compared is when each changes: every version and uid
//! is named by the order of its first appearance. Managed fields are not modelled.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The versions and uids of one server, named in the order of their appearance.
#[derive(Debug, Default)]
pub(crate) struct Names {
    versions: BTreeMap<u64, usize>,
    uids: BTreeMap<String, usize>,
}

impl Names {
    fn version(&mut self, version: &Value) -> Value {
        let Some(number) = version.as_str().and_then(|text| text.parse().ok()) else {
            return version.clone();
        };
        let is_known = self.versions.contains_key(&number);
        let is_newest = self.versions.keys().next_back().is_none_or(|newest| number > *newest);
        let next = self.versions.len();
        let name = *self.versions.entry(number).or_insert(next);
        // A version that appears for the first time is newer than all others.
        let order = if is_known || is_newest { "" } else { " out of order" };
        json!(format!("version {name}{order}"))
    }

    fn uid(&mut self, uid: &Value) -> Value {
        let Some(uid) = uid.as_str() else { return uid.clone() };
        let next = self.uids.len();
        let name = *self.uids.entry(uid.to_owned()).or_insert(next);
        json!(format!("uid {name}"))
    }

    /// A text in which uids and versions that are known are named.
    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (uid, name) in &self.uids {
            text = text.replace(uid, &format!("uid {name}"));
        }
        for (version, name) in &self.versions {
            text = text.replace(&format!("({version})"), &format!("(version {name})"));
        }
        text
    }
}

/// An answer, as it is compared.
pub(crate) fn answer(names: &mut Names, code: u16, body: &[u8]) -> Value {
    let body = match serde_json::from_slice::<Value>(body) {
        Ok(body) if body["kind"] == "Status" => status(names, &body),
        Ok(body) if body["items"].is_array() => list(names, &body),
        Ok(body) => object(names, &body),
        Err(_) => json!(String::from_utf8_lossy(body)),
    };
    json!({"code": code, "body": body})
}

/// A line of a watch, as it is compared.
pub(crate) fn event(names: &mut Names, line: &[u8]) -> Value {
    let event: Value = serde_json::from_slice(line).unwrap();
    let seen = &event["object"];
    let seen = if event["type"] == "ERROR" {
        json!({"code": seen["code"], "reason": seen["reason"], "kind": seen["kind"]})
    } else if event["type"] == "BOOKMARK" {
        // It stands for what was told, and may be of a later version that concerns other objects.
        let version = seen["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap();
        let newest = names.versions.keys().next_back();
        let mut seen = seen.clone();
        seen["metadata"]["resourceVersion"] = json!(newest.is_none_or(|newest| version >= *newest));
        seen
    } else {
        object(names, seen)
    };
    json!({"type": event["type"], "object": seen})
}

/// The words are compared where the model gives the real ones.
fn status(names: &mut Names, status: &Value) -> Value {
    let mut seen = json!({"status": status["status"], "code": status["code"], "reason": status["reason"]});
    let spoken = ["NotFound", "AlreadyExists", "Forbidden", "Conflict"];
    if spoken.iter().any(|reason| status["reason"] == *reason) {
        seen["message"] = json!(names.text(status["message"].as_str().unwrap_or_default()));
    }
    let mut details = status["details"].clone();
    if let Some(causes) = details.get("causes").and_then(Value::as_array) {
        let mut causes: Vec<String> = causes
            .iter()
            .filter(|cause| !is_about_the_size_of_a_number(cause))
            .map(|cause| format!("{} {}", cause["field"], cause["reason"]))
            .collect();
        causes.sort();
        causes.dedup();
        details["causes"] = json!(causes);
    }
    if let Some(uid) = details.get("uid").cloned() {
        details["uid"] = names.uid(&uid);
    }
    seen["details"] = details;
    seen
}

/// Where the server reports a number beyond its format, its holder or nowhere, follows no rule that matters.
fn is_about_the_size_of_a_number(cause: &Value) -> bool {
    let words = cause["message"].as_str().unwrap_or_default();
    words.contains("Checked value must be of type integer")
}

fn list(names: &mut Names, list: &Value) -> Value {
    let version = |value: &Value| {
        value["metadata"]["resourceVersion"]
            .as_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let newest = list["items"].as_array().unwrap().iter().map(version).max();
    let items: Vec<Value> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| object(names, item))
        .collect();
    json!({
        "kind": list["kind"],
        "apiVersion": list["apiVersion"],
        "items": items,
        "is not older than its items": newest.is_none_or(|newest| version(list) >= newest),
        "continue": list["metadata"].get("continue").map(|token| token == ""),
        "remaining": list["metadata"]["remainingItemCount"],
    })
}

/// An object, as it is compared.
pub(crate) fn object(names: &mut Names, object: &Value) -> Value {
    let mut seen = object.clone();
    if let Some(meta) = seen.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata(names, meta);
    }
    seen
}

fn metadata(names: &mut Names, meta: &mut Map<String, Value>) {
    meta.remove("managedFields");
    if let Some(version) = meta.get("resourceVersion").cloned() {
        meta.insert("resourceVersion".to_owned(), names.version(&version));
    }
    if let Some(uid) = meta.get("uid").cloned() {
        meta.insert("uid".to_owned(), names.uid(&uid));
    }
    for time in ["creationTimestamp", "deletionTimestamp"] {
        if let Some(value) = meta.get_mut(time)
            && value.is_string()
        {
            *value = json!("a time");
        }
    }
}
