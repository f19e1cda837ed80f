//! What the server makes of objects of its own kinds.

use serde_json::{Map, Value, json};

use super::{
    kind::{Kind, Strategy},
    object::text,
    status::{Cause, Failure},
};

type Fields = Map<String, Value>;

/// The fields of a kind, beside what every object has.
fn known(strategy: Strategy) -> &'static [&'static str] {
    match strategy {
        Strategy::Custom => &[],
        Strategy::Secret => &["data", "stringData", "type", "immutable"],
        Strategy::Lease => &["spec"],
        Strategy::Event => &[
            "action",
            "deprecatedCount",
            "deprecatedFirstTimestamp",
            "deprecatedLastTimestamp",
            "deprecatedSource",
            "eventTime",
            "note",
            "reason",
            "regarding",
            "related",
            "reportingController",
            "reportingInstance",
            "series",
            "type",
        ],
        Strategy::Namespace => &["spec", "status"],
        Strategy::Definition => &["spec"],
    }
}

/// The fields of a Lease's spec, with the types that the decoder wants.
const LEASE_FIELDS: [&str; 7] = [
    "acquireTime",
    "holderIdentity",
    "leaseDurationSeconds",
    "leaseTransitions",
    "preferredHolder",
    "renewTime",
    "strategy",
];

/// Makes of what a client gave what is stored, but for the metadata, and tells what is wrong with it. `old` is what is
/// stored now.
pub(super) fn shape(kind: &Kind, mut given: Fields, old: Option<&Value>) -> Result<(Fields, Vec<Cause>), Failure> {
    given.retain(|field, value| known(kind.strategy).contains(&field.as_str()) && !value.is_null());
    match kind.strategy {
        Strategy::Custom => {}
        Strategy::Secret => secret(&mut given),
        Strategy::Lease => lease(kind, &mut given)?,
        Strategy::Event => event(kind, &mut given)?,
        Strategy::Namespace => namespace(&mut given, old),
        Strategy::Definition => {
            let names = given.get("spec").map(|spec| spec["names"].clone());
            given.insert("status".to_owned(), definition_status(&names.unwrap_or_default()));
        }
    }
    let api_version = kind.api_version();
    given.insert("apiVersion".to_owned(), Value::from(api_version));
    given.insert("kind".to_owned(), Value::from(kind.name.clone()));
    let causes = validate(kind, &given, old);
    Ok((given, causes))
}

fn secret(given: &mut Fields) {
    use base64::Engine as _;
    let texts = given.remove("stringData");
    let mut data = match given.remove("data") {
        Some(Value::Object(data)) => data,
        _ => Map::new(),
    };
    for (key, value) in texts.as_ref().and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        data.insert(
            key.clone(),
            json!(base64::engine::general_purpose::STANDARD.encode(value)),
        );
    }
    if !data.is_empty() {
        given.insert("data".to_owned(), Value::Object(data));
    }
    given.entry("type").or_insert_with(|| json!("Opaque"));
}

fn lease(kind: &Kind, given: &mut Fields) -> Result<(), Failure> {
    let mut spec = match given.remove("spec") {
        Some(Value::Object(spec)) => spec,
        _ => Map::new(),
    };
    spec.retain(|field, value| LEASE_FIELDS.contains(&field.as_str()) && !value.is_null());
    for field in ["acquireTime", "renewTime"] {
        if let Some(time) = spec.get(field) {
            microseconds(kind, time)?;
        }
    }
    given.insert("spec".to_owned(), Value::Object(spec));
    Ok(())
}

fn event(kind: &Kind, given: &mut Fields) -> Result<(), Failure> {
    if let Some(time) = given.get("eventTime") {
        microseconds(kind, time)?;
    }
    given.retain(|_, value| *value != "");
    given.entry("deprecatedSource").or_insert_with(|| json!({}));
    for field in ["deprecatedFirstTimestamp", "deprecatedLastTimestamp", "eventTime"] {
        given.entry(field).or_insert(Value::Null);
    }
    given.entry("regarding").or_insert_with(|| json!({}));
    Ok(())
}

/// A `MicroTime` has exactly six digits of a second.
fn microseconds(kind: &Kind, time: &Value) -> Result<(), Failure> {
    let time = time.as_str().unwrap_or_default();
    let fraction = time.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = fraction.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 6 && time.parse::<k8s_openapi::jiff::Timestamp>().is_ok() {
        return Ok(());
    }
    Err(Failure::bad_request(format!(
        "{} in version \"{}\" cannot be handled as a {}: parsing time \"{time}\" as \"2006-01-02T15:04:05.000000Z07:00\"",
        kind.name, kind.version, kind.name
    )))
}

/// Whoever writes a namespace, its state is the server's own affair.
fn namespace(given: &mut Fields, old: Option<&Value>) {
    let (spec, status) = old.map_or_else(
        || (json!({"finalizers": ["kubernetes"]}), json!({"phase": "Active"})),
        |old| (old["spec"].clone(), old["status"].clone()),
    );
    given.insert("spec".to_owned(), spec);
    given.insert("status".to_owned(), status);
}

fn definition_status(names: &Value) -> Value {
    json!({
        "acceptedNames": names,
        "conditions": [
            {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts"},
            {"type": "Established", "status": "True", "reason": "InitialNamesAccepted"},
        ],
        "storedVersions": ["v1alpha1"],
    })
}

fn validate(kind: &Kind, object: &Fields, old: Option<&Value>) -> Vec<Cause> {
    let field = |name: &str| object.get(name).unwrap_or(&Value::Null);
    let mut causes = Vec::new();
    match kind.strategy {
        Strategy::Secret => {
            if old.is_some_and(|old| old["type"] != *field("type")) {
                causes.push(Cause::invalid("type", format!("{}: field is immutable", field("type"))));
            }
        }
        Strategy::Lease => {
            let number = |name: &str| field("spec")[name].as_i64();
            if number("leaseDurationSeconds").is_some_and(|seconds| seconds <= 0) {
                causes.push(Cause::invalid("spec.leaseDurationSeconds", "must be greater than 0"));
            }
            if number("leaseTransitions").is_some_and(|transitions| transitions < 0) {
                causes.push(Cause::invalid(
                    "spec.leaseTransitions",
                    "must be greater than or equal to 0",
                ));
            }
        }
        Strategy::Event => {
            causes = validate_event(object);
            if let Some(old) = old {
                causes.extend(immutable_event(object, old));
            }
        }
        Strategy::Custom | Strategy::Namespace | Strategy::Definition => {}
    }
    causes
}

fn validate_event(object: &Fields) -> Vec<Cause> {
    let mut causes = Vec::new();
    let field = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    if object.get("eventTime").is_none_or(Value::is_null) {
        causes.push(Cause::required("eventTime"));
    } else {
        for name in ["reportingController", "reportingInstance", "reason", "action"] {
            if field(name).is_empty() {
                causes.push(Cause::required(name));
            } else if field(name).len() > 128 {
                causes.push(Cause::invalid(name, "can have at most 128 characters"));
            }
        }
        if field("note").len() > 1024 {
            causes.push(Cause::invalid("message", "can have at most 1024 characters"));
        }
    }
    if !matches!(field("type"), "Normal" | "Warning") {
        causes.push(Cause::invalid(
            "type",
            format!("\"\": has invalid value: {}", field("type")),
        ));
    }
    causes
}

/// Of an Event that is there only its series can change. The errors name the fields as the core group does.
fn immutable_event(object: &Fields, old: &Value) -> impl Iterator<Item = Cause> {
    [
        ("action", "action"),
        ("eventTime", "eventTime"),
        ("note", "message"),
        ("reason", "reason"),
        ("regarding", "involvedObject"),
        ("related", "related"),
        ("reportingController", "reportingController"),
        ("reportingInstance", "reportingInstance"),
        ("type", "type"),
    ]
    .into_iter()
    .filter(|(field, _)| object.get(*field) != old.get(*field))
    .map(|(_, named)| Cause::invalid(named, "field is immutable"))
}

/// An Event about an object of no namespace is in `default`; one of the old kind, without a time, is where its object
/// is.
pub(super) fn check_place_of_event(object: &Fields, namespace: &str) -> Option<Cause> {
    let regarding = object
        .get("regarding")
        .map_or("", |regarding| text(regarding, "namespace"));
    let is_old = object.get("eventTime").is_none_or(Value::is_null);
    let fits = match regarding {
        "" => matches!(namespace, "default" | "kube-system"),
        regarding => !is_old || regarding == namespace,
    };
    (!fits).then(|| {
        Cause::invalid(
            "involvedObject.namespace",
            format!("\"{regarding}\": does not match event.namespace"),
        )
    })
}
