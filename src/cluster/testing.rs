//! An API server in a closure, for the tests of this module. Use it under a paused clock.

use std::{
    future,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use kube::client::Body;
use serde_json::{Value, json};
use tower::BoxError;

use super::{Cluster, with_deadlines};
use crate::{
    api::GuestTermination,
    clock::{SharedClock, SystemClock},
};

/// A request that reached the server.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) headers: http::HeaderMap,
    pub(super) body: Value,
    /// When, on the clock of the test.
    pub(super) at: std::time::Duration,
}

impl Asked {
    pub(super) fn is_watch(&self) -> bool {
        self.target.contains("watch=true")
    }
}

/// What the server does.
pub(super) enum Answer {
    Respond(Response<UnsyncBoxBody<Bytes, BoxError>>),
    /// The request is swallowed.
    Never,
    /// The connection breaks.
    Broken,
}

/// How a streamed body goes on after its lines.
#[derive(Clone, Copy)]
pub(super) enum Then {
    End,
    Silence,
    Break,
}

impl Answer {
    pub(super) fn json(code: u16, body: &Value) -> Self {
        Self::text(code, body.to_string())
    }

    pub(super) fn text(code: u16, body: impl Into<String>) -> Self {
        let body = Full::new(Bytes::from(body.into())).map_err(Into::into).boxed_unsync();
        Self::Respond(Response::builder().status(code).body(body).unwrap())
    }

    pub(super) fn status(code: u16, reason: &str, details: &Value) -> Self {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
            "message": "words of the server", "details": details});
        Self::json(code, &status)
    }

    pub(super) fn with_header(self, name: &'static str, value: &'static str) -> Self {
        match self {
            Self::Respond(mut response) => {
                response.headers_mut().insert(name, value.parse().unwrap());
                Self::Respond(response)
            }
            other => other,
        }
    }

    /// A body of single chunks.
    pub(super) fn chunks(chunks: Vec<String>, then: Then) -> Self {
        let chunks = chunks
            .into_iter()
            .map(|chunk| Ok(http_body::Frame::data(Bytes::from(chunk))));
        let end = stream::once(async move {
            match then {
                Then::End => Ok(http_body::Frame::data(Bytes::new())),
                Then::Silence => future::pending().await,
                Then::Break => Err(BoxError::from("connection reset")),
            }
        });
        let body = StreamBody::new(futures::StreamExt::chain(stream::iter(chunks), end));
        Self::Respond(Response::new(body.boxed_unsync()))
    }

    pub(super) fn empty(code: u16) -> Self {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        Self::Respond(Response::builder().status(code).body(body).unwrap())
    }
}

/// What reached the server so far.
pub(super) type Log = Arc<Mutex<Vec<Asked>>>;

/// A cluster whose API server is that function.
pub(super) fn cluster(server: impl FnMut(&Asked) -> Answer + Send + 'static) -> (Cluster, Log) {
    let log = Log::default();
    let clock = SystemClock::shared();
    let service = {
        let (log, clock, server) = (log.clone(), clock.clone(), Arc::new(Mutex::new(server)));
        tower::service_fn(move |request: Request<Body>| {
            let (log, clock, server) = (log.clone(), clock.clone(), server.clone());
            async move { serve(request, &log, &clock, &*server).await }
        })
    };
    (
        Cluster::new(with_deadlines(service, "default", clock.clone()), clock),
        log,
    )
}

async fn serve<F: FnMut(&Asked) -> Answer>(
    request: Request<Body>,
    log: &Log,
    clock: &SharedClock,
    server: &Mutex<F>,
) -> Result<Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError> {
    let (head, body) = request.into_parts();
    let body = body.collect_bytes().await?;
    let asked = Asked {
        method: head.method,
        target: head.uri.to_string(),
        headers: head.headers,
        body: serde_json::from_slice(&body).unwrap_or_default(),
        at: clock.monotonic(),
    };
    log.lock().unwrap().push(asked.clone());
    // Every answer costs time, or a loop without a pause would spin at one instant for ever.
    clock.sleep(std::time::Duration::from_millis(1)).await;
    let answer = (server.lock().unwrap())(&asked);
    match answer {
        Answer::Respond(response) => Ok(response),
        Answer::Never => future::pending().await,
        Answer::Broken => Err("connection refused".into()),
    }
}

/// A termination as the server stores it.
pub(super) fn termination_json(name: &str, version: &str) -> Value {
    json!({
        "apiVersion": "guestops.dev/v1alpha1", "kind": "GuestTermination",
        "metadata": {"name": name, "namespace": "care", "uid": format!("uid-{name}"), "resourceVersion": version,
            "managedFields": [{"manager": "kubectl", "operation": "Update"}]},
        "spec": {"guestId": "guest-1", "reason": "timeout", "retainData": true},
    })
}

/// The same, decoded.
pub(super) fn termination(name: &str, version: &str) -> GuestTermination {
    serde_json::from_value(termination_json(name, version)).unwrap()
}
