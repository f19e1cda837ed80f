//! Requests to the API server as plain JSON, so that a test can send what no Rust type could hold.

use http::{Method, Request, header::CONTENT_TYPE};
use kube::Client;
use serde_json::{Value, json};

/// What the server said to a request: the object as it now is, or the message of its refusal.
pub(super) type Answer = Result<Value, String>;

const MERGE: &str = "application/merge-patch+json";
const JSON: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// One kind in one namespace.
#[derive(Clone)]
pub(super) struct Gate {
    client: Client,
    path: String,
}

/// Which side of an object a write goes to.
#[derive(Clone, Copy)]
pub(super) enum Side {
    /// Everything but the status.
    Object,
    /// The status alone.
    Status,
}

impl Gate {
    pub(super) fn new(client: Client, namespace: &str, plural: &str) -> Self {
        Self {
            client,
            path: format!("/apis/guestops.dev/v1alpha1/namespaces/{namespace}/{plural}"),
        }
    }

    pub(super) async fn create(&self, object: &Value) -> Answer {
        self.send(Method::POST, self.path.clone(), "application/json", object)
            .await
    }

    pub(super) async fn get(&self, name: &str) -> Value {
        let path = format!("{}/{name}", self.path);
        self.send(Method::GET, path, "application/json", &Value::Null)
            .await
            .unwrap()
    }

    /// The names of the objects that a field selector finds.
    pub(super) async fn select(&self, selector: &str) -> Vec<String> {
        let query: String = selector.replace('=', "%3D").replace('!', "%21").replace(',', "%2C");
        let path = format!("{}?fieldSelector={query}", self.path);
        let list = self
            .send(Method::GET, path, "application/json", &Value::Null)
            .await
            .unwrap();
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(super) async fn put(&self, side: Side, object: &Value) -> Answer {
        let name = object["metadata"]["name"].as_str().unwrap();
        self.send(Method::PUT, self.at(name, side), "application/json", object)
            .await
    }

    pub(super) async fn merge(&self, name: &str, side: Side, patch: &Value) -> Answer {
        self.send(Method::PATCH, self.at(name, side), MERGE, patch).await
    }

    pub(super) async fn json_patch(&self, name: &str, side: Side, patch: &Value) -> Answer {
        self.send(Method::PATCH, self.at(name, side), JSON, patch).await
    }

    /// A forced server-side apply.
    pub(super) async fn apply(&self, owner: &str, side: Side, object: &Value) -> Answer {
        let name = object["metadata"]["name"].as_str().unwrap();
        let path = format!("{}?fieldManager={owner}&force=true", self.at(name, side));
        self.send(Method::PATCH, path, APPLY, object).await
    }

    fn at(&self, name: &str, side: Side) -> String {
        match side {
            Side::Object => format!("{}/{name}", self.path),
            Side::Status => format!("{}/{name}/status", self.path),
        }
    }

    async fn send(&self, method: Method, path: String, type_: &str, body: &Value) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(CONTENT_TYPE, type_)
            .body(serde_json::to_vec(body).unwrap())
            .unwrap();
        match self.client.request(request).await {
            Ok(object) => Ok(object),
            Err(kube::Error::Api(status)) if status.code == 422 => Err(status.message),
            Err(error) => panic!("neither accepted nor refused as invalid: {error}"),
        }
    }
}

/// What is expected of one row of a table.
#[derive(Clone, Copy)]
pub(super) enum Verdict {
    /// The server takes it.
    Accepted,
    /// The server refuses it with a message that holds this.
    Refused(&'static str),
}
pub(super) use Verdict::{Accepted, Refused};

impl Verdict {
    /// What is wrong with the answer, if anything.
    pub(super) fn miss(self, row: &str, answer: &Answer) -> Option<String> {
        match (self, answer) {
            (Accepted, Ok(_)) => None,
            (Accepted, Err(message)) => Some(format!("{row}: refused: {message}")),
            (Refused(_), Ok(_)) => Some(format!("{row}: accepted")),
            (Refused(sentence), Err(message)) => {
                (!message.contains(sentence)).then(|| format!("{row}: not because of {sentence:?}: {message}"))
            }
        }
    }
}

/// Fails with all rows that went wrong, not with the first alone.
pub(super) fn report(misses: Vec<String>) {
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}

/// The object with a patch merged into it (RFC 7386: `null` removes).
pub(super) fn with(object: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else {
        return patch.clone();
    };
    let mut merged = object.as_object().cloned().unwrap_or_default();
    for (name, value) in patch {
        if value.is_null() {
            merged.remove(name);
        } else {
            let old = merged.get(name).cloned().unwrap_or_default();
            merged.insert(name.clone(), with(&old, value));
        }
    }
    Value::Object(merged)
}

/// A `GuestTermination` with nothing but what is required.
pub(super) fn termination() -> Value {
    json!({
        "apiVersion": "guestops.dev/v1alpha1",
        "kind": "GuestTermination",
        "metadata": {"generateName": "termination-"},
        "spec": {"guestId": "guest-12345-abcde", "reason": "customer_initiated", "retainData": true},
    })
}

/// A `GenesysConnection` with nothing but what is required.
pub(super) fn connection() -> Value {
    json!({
        "apiVersion": "guestops.dev/v1alpha1",
        "kind": "GenesysConnection",
        "metadata": {"generateName": "connection-"},
        "spec": {
            "api": "WebMessagingGuests",
            "region": "us-east-1",
            "credentialsSecretRef": {"name": "genesys"},
        },
    })
}

/// The name that the server gave to an object.
pub(super) fn name_of(object: &Value) -> String {
    object["metadata"]["name"].as_str().unwrap().to_owned()
}
