//! Manifests of `GenesysConnection`, and what the API server is to say of each.

use serde_json::{Value, json};

use super::{
    gate::{Accepted, Refused, Verdict},
    termination_rows::Row,
};

const ONE_ADDRESS: &str = "Set exactly one of spec.region and spec.endpoints";
const SAME_ADDRESS: &str = "spec.region and spec.endpoints cannot be changed, added or removed: a connection is one \
                            organisation behind one address. If the address is wrong, delete the connection and create \
                            it again under the same name: objects that made no attempt follow it.";
const API_URL: &str = "spec.endpoints.apiUrl must be a complete address such as https://gateway.example.com/genesys";
const LOGIN_URL: &str = "spec.endpoints.loginUrl must be a complete address such as";
const WEBHOOK_URL: &str = "spec.webhooks[].url must be a complete address such as";
const API_HTTPS: &str = "spec.endpoints.apiUrl must begin with https://; http:// is only for localhost";
const SECRET_NAME: &str = "The name of a secretRef must be the name of a Secret in this namespace";
const SECRET_KEY: &str = "The key in a secretRef must be a key of the Secret";

fn spec(name: impl Into<String>, spec: Value, verdict: Verdict) -> Row {
    (name.into(), json!({ "spec": spec }), verdict)
}

fn endpoints(api: &str, login: &str) -> Value {
    json!({"region": null, "endpoints": {"apiUrl": api, "loginUrl": login}})
}

/// A webhook with every field, changed as given.
fn webhook(patch: Value) -> Value {
    let webhook = json!({
        "name": "analytics",
        "url": "https://hooks.example.com/genesys?key=1",
        "signingSecretRef": {"name": "hooks", "key": "current", "previousKey": "previous"},
        "events": ["session.terminated"],
        "format": "CloudEvents",
        "timeoutSeconds": 30,
    });
    json!({"webhooks": [super::gate::with(&webhook, &patch)]})
}

/// Against the simplest manifest, at creation.
pub(super) fn at_creation() -> Vec<Row> {
    let mut rows = vec![
        spec("only what is required", json!({}), Accepted),
        spec("no api", json!({"api": null}), Refused("spec.api: Required value")),
        spec(
            "an unknown api",
            json!({"api": "Conversations"}),
            Refused(r#"Unsupported value: "Conversations": supported values: "WebMessagingGuests""#),
        ),
        spec(
            "no credentials",
            json!({"credentialsSecretRef": null}),
            Refused("credentialsSecretRef: Required value"),
        ),
        spec(
            "neither region nor endpoints",
            json!({"region": null}),
            Refused(ONE_ADDRESS),
        ),
        spec(
            "both region and endpoints",
            json!({"endpoints": {"apiUrl": "https://a.example", "loginUrl": "https://b.example"}}),
            Refused(ONE_ADDRESS),
        ),
        spec(
            "an unknown region",
            json!({"region": "mars-1"}),
            Refused("spec.region must be a region of Genesys Cloud"),
        ),
        spec(
            "a region with a path",
            json!({"region": "x/y?"}),
            Refused("For any other address set spec.endpoints."),
        ),
        spec(
            "an empty region",
            json!({"region": ""}),
            Refused("spec.region must be a region of Genesys Cloud"),
        ),
        spec(
            "a region of the last row",
            json!({"region": "eusc-de-east-1"}),
            Accepted,
        ),
        spec(
            "no loginUrl",
            json!({"region": null, "endpoints": {"apiUrl": "https://a.example"}}),
            Refused("spec.endpoints.loginUrl: Required value"),
        ),
        (
            "a name of 64 characters".to_owned(),
            json!({"metadata": {"name": "n".repeat(64)}}),
            Refused("metadata.name must have at most 63 characters"),
        ),
    ];
    rows.extend(urls());
    rows.extend(webhooks());
    rows.extend(limits_and_secrets());
    rows
}

fn urls() -> Vec<Row> {
    let accepted = [
        "https://gateway.example.com",
        "https://gateway.example.com/",
        "https://gateway.example.com:8443/genesys/v1",
        "https://[2001:db8::1]:8443/x",
        "https://10.0.0.7",
        "http://localhost",
        "http://localhost:8080/x",
        "http://127.0.0.1:8080",
        "http://127.8.9.10",
        "http://[::1]:8080",
        "http://simulator.care.svc",
        "http://simulator.care.svc:8080/x",
        "http://simulator.care.svc.cluster.local:8080",
    ];
    let not_https = [
        "http://gateway.example.com",
        "http://127.0.0.1.example.com",
        "http://128.0.0.1",
        "http://localhost.example.com",
        "http://svc",
        "http://a.svc.example.com",
        "http://a.svc.cluster.local.example.com",
        "http://0.0.0.0",
        "http://[::2]:8080",
        "http://10.0.0.7",
    ];
    let incomplete = [
        "",
        "gateway.example.com",
        "//gateway.example.com",
        "/genesys",
        "ftp://gateway.example.com",
        "HTTPS://gateway.example.com",
        "https://",
        "https:///x",
        "https://user:password@gateway.example.com",
        "https://user@gateway.example.com",
        "http://localhost@gateway.example.com",
        "https://gateway.example.com?x=1",
        "https://gateway.example.com/x?",
        "https://gateway.example.com#x",
        "https://gateway.example.com/x#",
        "https://gateway.example.com/a b",
        "https://gateway.example.com\\x",
        "https://gateway.example.com\n",
        "https://gate\tway.example.com",
        "https://gateway.example.com:port",
        "https://gateway.example.com:123456",
        "https://gätewäy.example.com",
    ];
    let other = "https://b.example";
    let mut rows = Vec::new();
    rows.extend(accepted.map(|url| spec(format!("apiUrl {url:?}"), endpoints(url, other), Accepted)));
    rows.extend(accepted.map(|url| spec(format!("loginUrl {url:?}"), endpoints(other, url), Accepted)));
    rows.extend(not_https.map(|url| spec(format!("apiUrl {url:?}"), endpoints(url, other), Refused(API_HTTPS))));
    rows.extend(incomplete.map(|url| spec(format!("apiUrl {url:?}"), endpoints(url, other), Refused(API_URL))));
    rows.extend(incomplete.map(|url| spec(format!("loginUrl {url:?}"), endpoints(other, url), Refused(LOGIN_URL))));
    rows.push(spec(
        "a plain http loginUrl",
        endpoints(other, "http://login.example.com"),
        Refused("spec.endpoints.loginUrl must begin with https://"),
    ));
    rows
}

fn webhooks() -> Vec<Row> {
    let many = |count: usize| -> Value {
        (0..count)
            .map(|number| webhook(json!({"name": format!("hook-{number}")}))["webhooks"][0].clone())
            .collect()
    };
    let row = |name: &str, patch: Value, verdict: Verdict| spec(format!("webhook: {name}"), webhook(patch), verdict);
    vec![
        row("complete", json!({}), Accepted),
        row(
            "plain http to a Service",
            json!({"url": "http://receiver.care.svc:8080/hook?a=b"}),
            Accepted,
        ),
        row("no name", json!({"name": null}), Refused("name: Required value")),
        row("no url", json!({"url": null}), Refused("url: Required value")),
        row(
            "no signing key",
            json!({"signingSecretRef": null}),
            Refused("signingSecretRef: Required value"),
        ),
        row(
            "a name that is none",
            json!({"name": "Analytics 1"}),
            Refused("spec.webhooks[].name must have 1 to 63 lower-case letters"),
        ),
        row(
            "a user in the url",
            json!({"url": "https://u:p@hooks.example.com"}),
            Refused(WEBHOOK_URL),
        ),
        row(
            "a fragment in the url",
            json!({"url": "https://hooks.example.com/#x"}),
            Refused(WEBHOOK_URL),
        ),
        row(
            "plain http",
            json!({"url": "http://hooks.example.com/"}),
            Refused("spec.webhooks[].url must begin with https://"),
        ),
        row(
            "no event",
            json!({"events": []}),
            Refused("spec.webhooks[].events must name at least one event"),
        ),
        row(
            "an unknown event",
            json!({"events": ["session.started"]}),
            Refused("Unsupported value"),
        ),
        row(
            "an unknown format",
            json!({"format": "Xml"}),
            Refused(r#"supported values: "Flat", "CloudEvents""#),
        ),
        row(
            "no time",
            json!({"timeoutSeconds": 0}),
            Refused("spec.webhooks[].timeoutSeconds must be between 1 and 30 seconds"),
        ),
        row(
            "too much time",
            json!({"timeoutSeconds": 31}),
            Refused("spec.webhooks[].timeoutSeconds must be between 1 and 30 seconds"),
        ),
        row(
            "a bad signing key",
            json!({"signingSecretRef": {"key": "a/b"}}),
            Refused(SECRET_KEY),
        ),
        row(
            "a bad previous key",
            json!({"signingSecretRef": {"previousKey": ".."}}),
            Refused(SECRET_KEY),
        ),
        spec("four webhooks", json!({"webhooks": many(4)}), Accepted),
        spec(
            "five webhooks",
            json!({"webhooks": many(5)}),
            Refused("must have at most 4 items"),
        ),
        spec(
            "two webhooks of one name",
            json!({"webhooks": [many(1)[0], many(1)[0]]}),
            Refused("Duplicate value"),
        ),
    ]
}

fn limits_and_secrets() -> Vec<Row> {
    let per_minute = "spec.rateLimit.requestsPerMinute must be between 1 and 100000 requests";
    let in_flight = "spec.rateLimit.maxInFlight must be between 1 and 100 terminations";
    let codes = "spec.notFound.codes must hold error codes of 1 to 128 letters";
    let secret = |name: &str| json!({"credentialsSecretRef": {"name": name}});
    let mut rows = vec![
        spec(
            "the most",
            json!({"rateLimit": {"requestsPerMinute": 100_000, "maxInFlight": 100}}),
            Accepted,
        ),
        spec(
            "the least",
            json!({"rateLimit": {"requestsPerMinute": 1, "maxInFlight": 1}}),
            Accepted,
        ),
        spec(
            "no requests",
            json!({"rateLimit": {"requestsPerMinute": 0}}),
            Refused(per_minute),
        ),
        spec(
            "too many requests",
            json!({"rateLimit": {"requestsPerMinute": 100_001}}),
            Refused(per_minute),
        ),
        spec(
            "nothing in flight",
            json!({"rateLimit": {"maxInFlight": 0}}),
            Refused(in_flight),
        ),
        spec(
            "too many in flight",
            json!({"rateLimit": {"maxInFlight": 101}}),
            Refused(in_flight),
        ),
        spec(
            "trust",
            json!({"notFound": {"trust": "Always", "codes": ["guest.gone"]}}),
            Accepted,
        ),
        spec(
            "an unknown trust",
            json!({"notFound": {"trust": "Never"}}),
            Refused(r#""WhenProven", "Always""#),
        ),
        spec("an empty code", json!({"notFound": {"codes": [""]}}), Refused(codes)),
        spec(
            "a code with a space",
            json!({"notFound": {"codes": ["not found"]}}),
            Refused(codes),
        ),
        spec(
            "the code that proves nothing",
            json!({"notFound": {"codes": ["guest.gone", "not.found"]}}),
            Refused("spec.notFound.codes must not hold not.found"),
        ),
        spec("a Secret's name with dots", secret("genesys.prod"), Accepted),
        spec(
            "a CA bundle",
            json!({"caBundleSecretRef": {"name": "ca", "key": "ca.crt"}}),
            Accepted,
        ),
        spec(
            "a CA bundle without its key",
            json!({"caBundleSecretRef": {"name": "ca"}}),
            Refused("key: Required value"),
        ),
        spec(
            "a bad key of the client's id",
            json!({"credentialsSecretRef": {"clientIdKey": ""}}),
            Refused(SECRET_KEY),
        ),
        spec(
            "a bad key of the client's secret",
            json!({"credentialsSecretRef": {"clientSecretKey": "a b"}}),
            Refused(SECRET_KEY),
        ),
    ];
    let long = "n".repeat(254);
    let bad = ["", "Genesys", "../genesys", "other/genesys", "a_b", long.as_str()];
    rows.extend(bad.map(|name| spec(format!("Secret {name:?}"), secret(name), Refused(SECRET_NAME))));
    rows
}

/// Against a connection that names a region.
pub(super) fn at_update_of_region() -> Vec<Row> {
    vec![
        spec("suspend", json!({"suspend": true}), Accepted),
        spec("rate limit", json!({"rateLimit": {"requestsPerMinute": 60}}), Accepted),
        spec("trust", json!({"notFound": {"trust": "Always"}}), Accepted),
        spec(
            "another Secret",
            json!({"credentialsSecretRef": {"name": "rotated"}}),
            Accepted,
        ),
        spec("a webhook", webhook(json!({})), Accepted),
        spec("another region", json!({"region": "eu-west-1"}), Refused(SAME_ADDRESS)),
        spec("region removed", json!({"region": null}), Refused(SAME_ADDRESS)),
        spec(
            "endpoints instead",
            endpoints("https://a.example", "https://b.example"),
            Refused(SAME_ADDRESS),
        ),
        spec(
            "another api",
            json!({"api": "Conversations"}),
            Refused(r#"spec.api: Unsupported value: "Conversations""#),
        ),
        spec("api removed", json!({"api": null}), Refused("spec.api: Required value")),
    ]
}

/// Against a connection that names endpoints.
pub(super) fn at_update_of_endpoints() -> Vec<Row> {
    vec![
        spec(
            "another apiUrl",
            json!({"endpoints": {"apiUrl": "https://c.example"}}),
            Refused(SAME_ADDRESS),
        ),
        spec(
            "another loginUrl",
            json!({"endpoints": {"loginUrl": "https://c.example"}}),
            Refused(SAME_ADDRESS),
        ),
        spec("endpoints removed", json!({"endpoints": null}), Refused(SAME_ADDRESS)),
        spec(
            "region instead",
            json!({"endpoints": null, "region": "us-east-1"}),
            Refused(SAME_ADDRESS),
        ),
        spec("region added", json!({"region": "us-east-1"}), Refused(ONE_ADDRESS)),
    ]
}
