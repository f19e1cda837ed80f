//! What an object is made of when it is written: what a client gives, what the server keeps, what it adds.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    kind::{Kind, Strategy},
    schema::Schema,
    status::{Cause, Failure},
};

/// The parts of the metadata that a client decides.
const CLIENTS_METADATA: [&str; 6] = [
    "annotations",
    "finalizers",
    "generateName",
    "labels",
    "name",
    "ownerReferences",
];

/// A body as an object; a custom kind must name itself.
pub(super) fn parse(kind: &Kind, body: &[u8]) -> Result<Map<String, Value>, Failure> {
    let unrecognized = |why: String| {
        Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why}",
            kind.name
        ))
    };
    let object = match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => object,
        Ok(_) => return Err(unrecognized("it is no object".to_owned())),
        Err(error) => {
            return Err(unrecognized(format!(
                "couldn't get version/kind; json parse error: {error}"
            )));
        }
    };
    recognize(kind, &object)?;
    Ok(object)
}

/// Checks what an object says it is.
pub(super) fn recognize(kind: &Kind, object: &Map<String, Value>) -> Result<(), Failure> {
    let named = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, name) = (named("apiVersion"), named("kind"));
    let custom = kind.strategy == Strategy::Custom;
    if name.is_empty() && custom {
        return Err(Failure::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing",
            kind.name
        )));
    }
    if api_version != kind.api_version() && (custom || !api_version.is_empty()) {
        return Err(Failure::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({})",
            kind.api_version()
        )));
    }
    if name != kind.name && !name.is_empty() {
        if custom {
            let object_name = object.get("metadata").map_or("", |meta| text(meta, "name"));
            let cause = Cause::invalid("kind", format!("\"{name}\": must be {}", kind.name));
            return Err(Failure::invalid_as(name, &kind.group, object_name, &[cause]));
        }
        return Err(Failure::bad_request(format!(
            "{name} in version \"{api_version}\" cannot be handled as a {}",
            kind.name
        )));
    }
    Ok(())
}

/// A text field, empty if it is none.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The part of the metadata that the client decides, without what is empty.
pub(super) fn clients_metadata(given: Option<&mut Value>) -> Map<String, Value> {
    let mut kept = Map::new();
    if let Some(Value::Object(given)) = given {
        for field in CLIENTS_METADATA {
            match given.remove(field) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) if text.is_empty() => {}
                Some(Value::Object(map)) if map.is_empty() => {}
                Some(Value::Array(list)) if list.is_empty() => {}
                Some(value) => {
                    kept.insert(field.to_owned(), value);
                }
            }
        }
    }
    kept
}

/// Takes away what the schema does not keep of an object. Its metadata has a schema of its own.
pub(super) fn prune(schema: &Schema, object: &mut Value) {
    around_metadata(object, |object| {
        schema.prune(object);
    });
}

/// Fills in an object's defaults.
pub(super) fn fill(schema: &Schema, object: &mut Value) {
    schema.fill(object);
}

fn around_metadata(object: &mut Value, act: impl FnOnce(&mut Value)) {
    const OWN: [&str; 3] = ["apiVersion", "kind", "metadata"];
    let taken = OWN.map(|name| object.as_object_mut().and_then(|fields| fields.remove(name)));
    act(object);
    for (name, value) in OWN.into_iter().zip(taken) {
        if let Some(value) = value {
            object[name] = value;
        }
    }
}

/// What is wrong with a name.
pub(super) fn check_name(name: &str) -> Option<Cause> {
    let edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(edge)
            && bytes.last().is_some_and(edge)
            && bytes.iter().all(|byte| edge(byte) || *byte == b'-')
    };
    if name.is_empty() {
        return Some(Cause {
            message: "Required value: name or generateName is required".to_owned(),
            ..Cause::required("metadata.name")
        });
    }
    if name.len() > 253 || !name.split('.').all(label) {
        return Some(Cause::invalid(
            "metadata.name",
            format!("\"{name}\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters"),
        ));
    }
    None
}

/// The labels that are none.
pub(super) fn check_labels(metadata: &Map<String, Value>) -> Option<Cause> {
    let edge = |byte: &u8| byte.is_ascii_alphanumeric();
    let labels = metadata.get("labels").and_then(Value::as_object)?;
    let bad = labels.values().find(|value| {
        let bytes = value.as_str().unwrap_or("%").as_bytes();
        let fits = bytes.len() <= 63
            && bytes.first().is_none_or(edge)
            && bytes.last().is_none_or(edge)
            && bytes.iter().all(|byte| edge(byte) || b"-_.".contains(byte));
        !fits
    })?;
    Some(Cause::invalid(
        "metadata.labels",
        format!("{bad}: a valid label must be …"),
    ))
}

/// A time as the server writes it in metadata: whole seconds.
pub(super) fn seconds(now: Timestamp) -> Value {
    let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
    json!(whole.to_string())
}

/// A uid that is always the same for the same version, and in no order.
pub(super) fn uid(version: u64) -> String {
    let mix = |number: u64| {
        // SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators).
        let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let (high, low) = (mix(2 * version + 1), mix(2 * version + 2));
    format!(
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        (low >> 48) & 0xfff,
        low & 0xffff_ffff_ffff
    )
}

/// The end of a name that the server chooses.
pub(super) fn suffix(version: u64) -> String {
    uid(version)
        .chars()
        .filter(|character| *character != '-')
        .take(5)
        .collect()
}
