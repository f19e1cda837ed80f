//! Manifests of `GuestTermination`, and what the API server is to say of each: what changes against the simplest
//! manifest, or against an existing object, and the verdict.

use serde_json::{Value, json};

use super::gate::{Accepted, Refused, Verdict};

pub(super) type Row = (String, Value, Verdict);

const GUEST_ID: &str = "spec.guestId must have 1 to 128 letters, digits, '.', '_' and '-'";
const EXTERNAL_REF: &str = "spec.externalRef must have 1 to 256 characters and no control characters";
const NOT_AFTER: &str = "spec.notAfter must be an instant of RFC 3339 between the years 2000 and 9998";
const CONNECTION_NAME: &str = "spec.connectionRef.name must be the name of a GenesysConnection in this namespace";
const BACKOFF_LIMIT: &str = "spec.backoffLimit must be between 0 and 50 retries";
const DEADLINE: &str = "spec.activeDeadlineSeconds must be between 1 and 31536000 seconds (365 days)";

fn row(name: impl Into<String>, patch: Value, verdict: Verdict) -> Row {
    (name.into(), patch, verdict)
}

fn fields(field: &str, rows: Vec<(Value, Verdict)>) -> Vec<Row> {
    rows.into_iter()
        .map(|(value, verdict)| row(format!("{field}: {value}"), json!({"spec": {field: value}}), verdict))
        .collect()
}

/// Against the simplest manifest, at creation.
pub(super) fn at_creation() -> Vec<Row> {
    let mut rows = vec![
        row("only what is required", json!({}), Accepted),
        row("no spec", json!({"spec": null}), Refused("spec: Required value")),
        row(
            "no guestId",
            json!({"spec": {"guestId": null}}),
            Refused("spec.guestId: Required value"),
        ),
        row(
            "no reason",
            json!({"spec": {"reason": null}}),
            Refused("spec.reason: Required value"),
        ),
        row(
            "no retainData, which has no default",
            json!({"spec": {"retainData": null}}),
            Refused("spec.retainData: Required value"),
        ),
        row(
            "a name of 64 characters",
            json!({"metadata": {"name": "n".repeat(64)}}),
            Refused("metadata.name must have at most 63 characters: choose a shorter name"),
        ),
        row(
            "a name of 63 characters",
            json!({"metadata": {"name": "n".repeat(63)}}),
            Accepted,
        ),
        row(
            "a generated name that is cut",
            json!({"metadata": {"generateName": "g".repeat(200)}}),
            Accepted,
        ),
    ];
    rows.extend(fields("guestId", guest_ids()));
    rows.extend(fields("externalRef", external_refs()));
    rows.extend(fields("notAfter", instants()));
    rows.extend(fields("connectionRef", connection_refs()));
    rows.extend(fields("reason", reasons()));
    rows.extend(fields(
        "retainData",
        vec![
            (json!(false), Accepted),
            (json!("true"), Refused("must be of type boolean")),
            (json!(1), Refused("must be of type boolean")),
        ],
    ));
    rows.extend(fields(
        "backoffLimit",
        vec![
            (json!(0), Accepted),
            (json!(50), Accepted),
            (json!(-1), Refused(BACKOFF_LIMIT)),
            (json!(51), Refused(BACKOFF_LIMIT)),
            (json!("6"), Refused("must be of type integer")),
        ],
    ));
    rows.extend(fields(
        "activeDeadlineSeconds",
        vec![
            (json!(1), Accepted),
            (json!(31_536_000), Accepted),
            (json!(0), Refused(DEADLINE)),
            (json!(-5), Refused(DEADLINE)),
            (json!(31_536_001), Refused(DEADLINE)),
            (json!(i64::MAX), Refused(DEADLINE)),
        ],
    ));
    rows
}

fn guest_ids() -> Vec<(Value, Verdict)> {
    let refused = [
        "", "a/b", "/", "..", "a..b", ".", "%2e%2e", "a%2fb", "a b", " a", "a ", "a\n", "a\nb", "a\tb", "a?b", "a#b",
        "a;b", "a\\b", ".a", "a.", "-a", "a-", "_a", "a_", "ü", "a\u{0}b", "a:b", "a@b",
    ];
    let accepted = [
        "a",
        "7",
        "a.b",
        "a_-.b",
        "guest-12345-abcde",
        "3fa85f64-5717-4562-b3fc-2c963f66afa6",
    ];
    let long = [
        (128, Accepted),
        (129, Refused(GUEST_ID)),
        (1025, Refused("may not be more than 1024")),
    ];
    refused
        .into_iter()
        .map(|id| (json!(id), Refused(GUEST_ID)))
        .chain(accepted.into_iter().map(|id| (json!(id), Accepted)))
        .chain(
            long.into_iter()
                .map(|(length, verdict)| (json!("g".repeat(length)), verdict)),
        )
        .chain([(json!(12345), Refused("must be of type string"))])
        .collect()
}

fn external_refs() -> Vec<(Value, Verdict)> {
    vec![
        (json!("ext-ref-98765"), Accepted),
        (json!("TICKET 1/2 & ü=%20?#"), Accepted),
        (json!("ü".repeat(256)), Accepted),
        (json!("x".repeat(257)), Refused(EXTERNAL_REF)),
        (json!(""), Refused(EXTERNAL_REF)),
        (json!("a\nb"), Refused(EXTERNAL_REF)),
        (json!("a\u{0}"), Refused(EXTERNAL_REF)),
        (json!("a\u{7f}"), Refused(EXTERNAL_REF)),
        (json!("a\u{85}b"), Refused(EXTERNAL_REF)),
    ]
}

fn instants() -> Vec<(Value, Verdict)> {
    let accepted = [
        "2000-01-01T00:00:00Z",
        "2030-01-31T12:00:00Z",
        "2030-01-31T12:00:00.123456789Z",
        "2030-01-31T12:00:00.5+02:00",
        "2030-01-31T12:00:00-00:00",
        "2030-01-31T12:00:00+24:00",
        "2028-02-29T00:00:00Z",
        "9998-12-31T23:59:59Z",
    ];
    let refused = [
        "",
        "tomorrow",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "1999-12-31T23:59:59Z",
        "2000-01-01T00:00:00+00:01",
        "9999-01-01T00:00:00Z",
        "9998-12-31T23:59:59-23:59",
        "10000-01-01T00:00:00Z",
        "2030-01-31",
        "2030-01-31T12:00:00",
        "2030-01-31T12:00Z",
        "2030-01-31 12:00:00Z",
        "2030-01-31t12:00:00z",
        "2030-01-31T12:00:60Z",
        "2030-01-31T24:00:00Z",
        "2030-02-30T12:00:00Z",
        "2030-13-01T12:00:00Z",
        "2030-01-31T12:00:00,5Z",
        "2030-01-31T12:00:00x5Z",
        "2030-01-31T12:00:00.Z",
        "2030-01-31T12:00:00.1234567891Z",
        "2030-01-31T12:00:00+99:99",
        "2030-01-31T12:00:00+0200",
        "2030-01-31T12:00:00ZTxyz",
        "2030-01-31T12:00:00Z\n",
    ];
    accepted
        .into_iter()
        .map(|instant| (json!(instant), Accepted))
        .chain(refused.into_iter().map(|instant| (json!(instant), Refused(NOT_AFTER))))
        .chain([(json!(1_900_000_000), Refused("must be of type string"))])
        .collect()
}

fn connection_refs() -> Vec<(Value, Verdict)> {
    let named = |name: &str| json!({"kind": "GenesysConnection", "name": name});
    vec![
        (named("prod-eu"), Accepted),
        (named("prod.eu"), Accepted),
        (named(""), Refused(CONNECTION_NAME)),
        (named("Prod"), Refused(CONNECTION_NAME)),
        (named("other/prod"), Refused(CONNECTION_NAME)),
        (named(&"n".repeat(64)), Refused(CONNECTION_NAME)),
        (
            json!({"name": "prod-eu"}),
            Refused("spec.connectionRef.kind: Required value"),
        ),
        (
            json!({"kind": "GenesysConnection"}),
            Refused("spec.connectionRef.name: Required value"),
        ),
        (
            json!({"kind": "Secret", "name": "prod-eu"}),
            Refused(r#"Unsupported value: "Secret": supported values: "GenesysConnection""#),
        ),
    ]
}

fn reasons() -> Vec<(Value, Verdict)> {
    let accepted = [
        "customer_initiated",
        "agent_initiated",
        "timeout",
        "system_escalation",
        "bot_handoff",
    ];
    let refused = ["", "Timeout", "because", "customer-initiated"];
    accepted
        .into_iter()
        .map(|reason| (json!(reason), Accepted))
        .chain(refused.into_iter().map(|reason| {
            (
                json!(reason),
                Refused(r#"supported values: "customer_initiated", "agent_initiated""#),
            )
        }))
        .collect()
}

/// Every optional field of the request, set.
pub(super) fn full() -> Value {
    json!({"spec": {
        "externalRef": "ext-ref-98765",
        "connectionRef": {"kind": "GenesysConnection", "name": "prod-eu"},
        "notAfter": "2030-01-31T12:00:00Z",
    }})
}

/// Against an object with every field set, while it is worked on.
pub(super) fn at_update_of_full() -> Vec<Row> {
    let changed = |spec: Value| json!({ "spec": spec });
    vec![
        row("nothing", json!({}), Accepted),
        row("labels", json!({"metadata": {"labels": {"a": "b"}}}), Accepted),
        row(
            "guestId changed",
            changed(json!({"guestId": "other"})),
            Refused("spec.guestId cannot be changed: create a new GuestTermination"),
        ),
        row(
            "guestId removed",
            changed(json!({"guestId": null})),
            Refused("spec.guestId: Required value"),
        ),
        row(
            "reason changed",
            changed(json!({"reason": "timeout"})),
            Refused("spec.reason cannot be changed: create a new GuestTermination"),
        ),
        row(
            "reason removed",
            changed(json!({"reason": null})),
            Refused("spec.reason: Required value"),
        ),
        row(
            "retainData changed",
            changed(json!({"retainData": false})),
            Refused("spec.retainData cannot be changed: create a new GuestTermination"),
        ),
        row(
            "retainData removed",
            changed(json!({"retainData": null})),
            Refused("spec.retainData: Required value"),
        ),
        row(
            "externalRef changed",
            changed(json!({"externalRef": "other"})),
            Refused("spec.externalRef cannot be changed, added or removed: create a new GuestTermination"),
        ),
        row(
            "externalRef removed",
            changed(json!({"externalRef": null})),
            Refused("spec.externalRef cannot be changed, added or removed"),
        ),
        row(
            "connectionRef changed",
            changed(json!({"connectionRef": {"name": "prod-us"}})),
            Refused("spec.connectionRef cannot be changed, added or removed: create a new GuestTermination"),
        ),
        row(
            "connectionRef removed",
            changed(json!({"connectionRef": null})),
            Refused("spec.connectionRef cannot be changed, added or removed"),
        ),
        row(
            "notAfter changed",
            changed(json!({"notAfter": "2030-01-31T12:00:01Z"})),
            Refused("spec.notAfter cannot be changed, added or removed: create a new GuestTermination"),
        ),
        row(
            "notAfter removed",
            changed(json!({"notAfter": null})),
            Refused("spec.notAfter cannot be changed, added or removed"),
        ),
        row(
            "the same notAfter in another time zone",
            changed(json!({"notAfter": "2030-01-31T14:00:00+02:00"})),
            Accepted,
        ),
        row("suspend", changed(json!({"suspend": true})), Accepted),
        row("resume", changed(json!({"suspend": false})), Accepted),
        row("backoffLimit", changed(json!({"backoffLimit": 9})), Accepted),
        row(
            "activeDeadlineSeconds",
            changed(json!({"activeDeadlineSeconds": 60})),
            Accepted,
        ),
        row(
            "backoffLimit out of bounds",
            changed(json!({"backoffLimit": 99})),
            Refused(BACKOFF_LIMIT),
        ),
    ]
}

/// Against an object with only the required fields, while it is worked on.
pub(super) fn at_update_of_bare() -> Vec<Row> {
    ["externalRef", "connectionRef", "notAfter"]
        .into_iter()
        .map(|field| {
            let sentence: &'static str = match field {
                "externalRef" => "spec.externalRef cannot be changed, added or removed",
                "connectionRef" => "spec.connectionRef cannot be changed, added or removed",
                _ => "spec.notAfter cannot be changed, added or removed",
            };
            let value = full()["spec"][field].clone();
            row(
                format!("{field} added"),
                json!({"spec": {field: value}}),
                Refused(sentence),
            )
        })
        .collect()
}

/// Against an object whose status says `finished`, or `settled` too.
pub(super) fn at_update_of_final(sentence: &'static str) -> Vec<Row> {
    let changes = [
        json!({"suspend": true}),
        json!({"backoffLimit": 9}),
        json!({"activeDeadlineSeconds": 60}),
    ];
    changes
        .into_iter()
        .map(|spec| row(spec.to_string(), json!({ "spec": spec }), Refused(sentence)))
        .chain([row("labels", json!({"metadata": {"labels": {"a": "b"}}}), Accepted)])
        .collect()
}
