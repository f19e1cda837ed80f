//! The generated definitions, without a server: what every field must have, and that `crds/` is what the code says.

use std::{collections::BTreeMap, fs, path::Path};

use guest_termination_operator::{
    api::{GenesysConnectionStatus, GuestTerminationStatus, crds},
    cli::crd,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

const RULES: &str = "x-kubernetes-validations";

fn schema(crd: &CustomResourceDefinition) -> Value {
    json!(crd)["spec"]["versions"][0]["schema"]["openAPIV3Schema"].take()
}

/// Every schema in a definition with its path, such as `.spec.webhooks[].url`.
fn walk<'a>(path: String, schema: &'a Value, into: &mut BTreeMap<String, &'a Value>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(format!("{path}.{name}"), property, into);
    }
    if let Some(items) = schema.get("items") {
        walk(format!("{path}[]"), items, into);
    }
    into.insert(path, schema);
}

/// Calls the check with the kind, the path and the schema of every field of every kind.
fn for_every_field(mut check: impl FnMut(&str, &str, &Value)) {
    for crd in crds() {
        let schema = schema(&crd);
        let mut fields = BTreeMap::new();
        walk(String::new(), &schema, &mut fields);
        assert!(fields.len() > 30, "the walk goes through the whole schema");
        for (path, field) in fields {
            check(&crd.spec.names.kind, &path, field);
        }
    }
}

#[test]
fn the_folder_crds_is_what_the_code_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let generated: BTreeMap<_, _> = crd::files().unwrap().into_iter().collect();
    let found: BTreeMap<_, _> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    for name in generated.keys().chain(found.keys()) {
        assert!(
            generated.get(name) == found.get(name),
            "crds/{name} is not what the code says. Run: cargo run -- crd --output crds"
        );
    }
}

#[test]
fn the_files_are_written_and_read_back_without_loss() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("new/crds");
    crd::write(&target).unwrap();
    for crd in crds() {
        let text = fs::read_to_string(target.join(format!("{}.yaml", crd.spec.names.plural))).unwrap();
        let read: CustomResourceDefinition = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(read, crd);
        assert!(crd::stream().unwrap().contains(&text));
    }
    assert_eq!(crd::stream().unwrap().matches("\n---\n").count(), crds().len() - 1);
}

#[test]
fn every_field_has_a_description() {
    for_every_field(|kind, path, field| {
        // The elements of a list of plain values are described by the list.
        if path.ends_with("[]") && field.get("properties").is_none() {
            return;
        }
        let description = field["description"].as_str().unwrap_or_default();
        assert!(
            description.ends_with('.'),
            "{kind} {path} has no description: {description:?}"
        );
        assert!(
            !description.contains('[') || path.contains("conditions"),
            "{kind} {path} is described with a link of Rust's: {description}"
        );
    });
}

#[test]
fn null_stands_nowhere() {
    for_every_field(|kind, path, field| assert!(field.get("nullable").is_none(), "{kind} {path}"));
}

#[test]
fn the_sets_of_values_in_a_status_are_open() {
    for_every_field(|kind, path, field| {
        assert!(
            !path.starts_with(".status") || field.get("enum").is_none(),
            "{kind} {path}: an older server could not store a newer value"
        );
    });
}

#[test]
fn every_refusal_is_a_sentence() {
    let mut rules = 0;
    for_every_field(|kind, path, field| {
        for rule in field[RULES].as_array().into_iter().flatten() {
            rules += 1;
            let message = rule["message"].as_str().unwrap_or_default();
            assert!(
                message.split(' ').count() > 5 && message.ends_with('.') && message.starts_with(char::is_alphabetic),
                "{kind} {path}: {message:?}"
            );
            assert!(!message.contains(['^', '\\', '\n']), "{kind} {path}: {message:?}");
        }
    });
    assert!(rules > 30, "only {rules} rules");
}

#[test]
fn what_a_rule_reads_is_bounded() {
    for_every_field(|kind, path, field| {
        if !path.starts_with(".spec") || field.get("enum").is_some() {
            return;
        }
        let bound = match field["type"].as_str() {
            Some("string") => "maxLength",
            Some("array") => "maxItems",
            _ => return,
        };
        assert!(field[bound].is_u64(), "{kind} {path} has no {bound}");
    });
}

#[test]
fn immutability_is_a_rule_of_the_object_that_holds_the_field() {
    // A rule on an optional field itself does not run when the field is added or removed.
    for_every_field(|kind, path, field| {
        for rule in field[RULES].as_array().into_iter().flatten() {
            let cel = rule["rule"].as_str().unwrap();
            assert!(
                !cel.contains("oldSelf") || matches!(path, "" | ".spec"),
                "{kind} {path}: {cel}"
            );
        }
    });
}

#[test]
fn every_immutable_field_has_its_rule() {
    let mut ruled = Vec::new();
    for_every_field(|kind, path, field| {
        let rules = field[RULES].as_array().into_iter().flatten();
        let spec_rules = rules.filter(|_| path == ".spec");
        let paths = spec_rules.filter_map(|rule| rule["fieldPath"].as_str());
        ruled.extend(paths.map(|path| format!("{kind}{path}")));
    });
    let expected = [
        "GuestTermination.guestId",
        "GuestTermination.reason",
        "GuestTermination.retainData",
        "GuestTermination.externalRef",
        "GuestTermination.connectionRef",
        "GuestTermination.notAfter",
        // Its address has a rule of two fields, and the one value of `api` that there is yet cannot be edited.
        "GenesysConnection.api",
    ];
    assert_eq!(ruled, expected);
}

#[test]
fn what_a_newer_version_wrote_is_carried_through() {
    let status = json!({
        "attempts": 0,
        "observedGeneration": 1,
        "fence": {"epoch": 7},
        "currentAttempt": {
            "id": "i", "number": 1, "holder": "h", "startedAt": "2026-01-01T00:00:00Z", "sentThrough": "proxy",
        },
        "connection": {
            "kind": "GenesysConnection", "name": "n", "uid": "u", "api": "WebMessagingGuests", "host": "h", "port": 443,
        },
        "session": {"state": "active", "owner": "o"},
        "audit": {"success": true, "duplicateTermination": false, "witness": "w"},
        "history": [{"number": 1, "id": "i", "startedAt": "2026-01-01T00:00:00Z", "result": "Unknown", "region": "r"}],
        "webhooks": [{
            "name": "n", "event": "session.terminated", "format": "Flat", "messageId": "m", "state": "Pending",
            "attempts": 0, "priority": 1,
        }],
    });
    let read: GuestTerminationStatus = serde_json::from_value(status.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), status);

    let status = json!({
        "observedGeneration": 1, "breaker": "open", "rateLimit": {"allowed": 300, "window": 60},
    });
    let read: GenesysConnectionStatus = serde_json::from_value(status.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), status);
}

#[test]
fn lists_have_their_kinds() {
    let mut lists = BTreeMap::new();
    for_every_field(|kind, path, field| {
        if field["type"] == "array" {
            let keys = field["x-kubernetes-list-map-keys"].to_string();
            let type_ = field["x-kubernetes-list-type"].as_str().unwrap_or_default().to_owned();
            lists.insert(format!("{kind}{path}"), (type_, keys, field["maxItems"].as_u64()));
        }
    });
    let expected = [
        ("GenesysConnection.spec.notFound.codes", "set", "null", Some(16)),
        ("GenesysConnection.spec.webhooks", "map", r#"["name"]"#, Some(4)),
        ("GenesysConnection.spec.webhooks[].events", "set", "null", Some(8)),
        ("GenesysConnection.status.conditions", "map", r#"["type"]"#, None),
        ("GuestTermination.status.conditions", "map", r#"["type"]"#, None),
        ("GuestTermination.status.history", "atomic", "null", Some(10)),
        ("GuestTermination.status.webhooks", "map", r#"["name"]"#, None),
    ];
    let expected: BTreeMap<_, _> = expected
        .into_iter()
        .map(|(path, type_, keys, max)| (path.to_owned(), (type_.to_owned(), keys.to_owned(), max)))
        .collect();
    assert_eq!(lists, expected);
}

#[test]
fn names_and_selectors_are_as_documented() {
    let [termination, connection] = &crds()[..] else {
        panic!("two kinds");
    };
    for (crd, short) in [(termination, "gterm"), (connection, "gconn")] {
        let names = &crd.spec.names;
        assert_eq!(names.short_names.as_deref(), Some(&[short.to_owned()][..]));
        assert_eq!(names.categories.as_deref(), Some(&["genesys".to_owned()][..]));
        assert!(crd.spec.versions[0].subresources.as_ref().unwrap().status.is_some());
    }
    let selectable: Vec<_> = termination.spec.versions[0]
        .selectable_fields
        .iter()
        .flatten()
        .map(|field| field.json_path.as_str())
        .collect();
    let expected = [
        ".spec.guestId",
        ".spec.reason",
        ".status.phase",
        ".status.outcome",
        ".status.finished",
        ".status.settled",
    ];
    assert_eq!(selectable, expected);
}
