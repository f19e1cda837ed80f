//! A server to ask, and what is asked of it.

use bytes::Bytes;
use http::Request;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use crate::apiserver::{
    ApiServer, Reply, Watch,
    requests::{self, Resource, Side, TERMINATIONS},
};

/// A server with the namespace `care`, at an instant that does not pass.
pub(super) struct Bench {
    pub(super) server: ApiServer,
}

impl Bench {
    pub(super) fn new() -> Self {
        let server = ApiServer::new(now(), &["care"]);
        Self { server }
    }

    /// The code and the body of an answer.
    pub(super) fn ask(&mut self, request: &Request<Bytes>) -> (u16, Value) {
        match self.server.handle(now(), None, request) {
            Reply::Answer(answer) => read(&answer),
            Reply::Watch(watch) => panic!("{watch:?}"),
        }
    }

    /// The body of an answer that says yes.
    pub(super) fn done(&mut self, request: &Request<Bytes>) -> Value {
        let (code, body) = self.ask(request);
        assert!((200..300).contains(&code), "{body}");
        body
    }

    /// A termination that exists.
    pub(super) fn termination(&mut self, name: &str) -> Value {
        self.done(&requests::create(&TERMINATIONS, "care", &termination(name)))
    }

    pub(super) fn merge(&mut self, name: &str, side: Side, patch: &Value) -> Value {
        self.done(&requests::merge_patch(&TERMINATIONS, "care", name, side, patch))
    }

    pub(super) fn put(&mut self, side: Side, object: &Value) -> (u16, Value) {
        let name = object["metadata"]["name"].as_str().unwrap();
        self.ask(&requests::replace(&TERMINATIONS, "care", name, side, object))
    }

    pub(super) fn watch(&mut self, parameters: &[(&str, &str)]) -> Watch {
        self.watch_of(&TERMINATIONS, parameters)
    }

    pub(super) fn watch_of(&mut self, resource: &Resource, parameters: &[(&str, &str)]) -> Watch {
        let parameters: Vec<_> = [("watch", "true")].iter().chain(parameters).copied().collect();
        match self
            .server
            .handle(now(), None, &requests::list(resource, "", &parameters))
        {
            Reply::Watch(watch) => watch,
            Reply::Answer(answer) => panic!("{answer:?}"),
        }
    }

    /// What a watch is told up to now: the type, the name and the version of each event.
    pub(super) fn told(&self, watch: &mut Watch) -> Vec<String> {
        let lines = watch.next_lines(&self.server, self.server.version());
        lines.iter().map(event).collect()
    }
}

pub(super) fn now() -> Timestamp {
    "2026-03-01T10:00:00.75Z".parse().unwrap()
}

pub(super) fn read(answer: &http::Response<Bytes>) -> (u16, Value) {
    let body = serde_json::from_slice(answer.body()).unwrap_or_default();
    (answer.status().as_u16(), body)
}

pub(super) fn termination(name: &str) -> Value {
    json!({
        "apiVersion": "guestops.dev/v1alpha1", "kind": "GuestTermination", "metadata": {"name": name},
        "spec": {"guestId": format!("guest-{name}"), "reason": "timeout", "retainData": true},
    })
}

/// A line of a watch in short: `ADDED a 101`.
pub(super) fn event(line: &Bytes) -> String {
    assert!(line.ends_with(b"}\n"));
    let event: Value = serde_json::from_slice(line).unwrap();
    let (meta, kind) = (&event["object"]["metadata"], event["type"].as_str().unwrap());
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    format!("{kind} {} {}", word(&meta["name"]), word(&meta["resourceVersion"]))
}

pub(super) fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}
