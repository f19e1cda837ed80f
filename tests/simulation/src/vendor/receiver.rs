//! The webhook receiver: endpoints, their keys, and what they do with what comes.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use standardwebhooks::Webhook;

use super::{
    Arrival, Delivery, Entry, RetryAfter,
    answers::{empty, page, with_body, with_header, with_retry_after},
};

/// How far a webhook's timestamp may be from the receiver's clock, in seconds.
const TOLERANCE: i64 = 5 * 60;

/// What an endpoint does with a message whose signature is good and whose timestamp is near.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointMode {
    /// It answers with this status.
    Answers(u16),
    /// It answers with this status and a pause.
    Pauses(u16, RetryAfter),
    /// 302 to another host.
    Redirects,
}

impl Default for EndpointMode {
    fn default() -> Self {
        Self::Answers(204)
    }
}

#[derive(Clone, Debug, Default)]
struct Endpoint {
    keys: Vec<String>,
    mode: EndpointMode,
}

/// All endpoints that webhooks go to.
#[derive(Clone, Debug, Default)]
pub struct Receiver {
    endpoints: BTreeMap<String, Endpoint>,
    entries: Vec<Entry>,
}

impl Receiver {
    /// Sets the keys (`whsec_…`) of an endpoint, named by its URL without the scheme. A signature of any of them is good.
    pub fn set_keys(&mut self, endpoint: &str, keys: &[&str]) {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        self.endpoints.entry(endpoint.to_owned()).or_default().keys = keys;
    }

    /// Sets what an endpoint does.
    pub fn set_mode(&mut self, endpoint: &str, mode: EndpointMode) {
        self.endpoints.entry(endpoint.to_owned()).or_default().mode = mode;
    }

    /// What came since the last time, in order.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Entry> {
        self.entries.drain(..)
    }

    /// Takes a message in and answers.
    pub fn handle(&mut self, arrival: Arrival, request: &Request<Bytes>) -> Response<Bytes> {
        let uri = request.uri();
        let host = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let name = format!("{host}{}", uri.path());
        let Some(endpoint) = self.endpoints.get(&name) else {
            return empty(StatusCode::NOT_FOUND, arrival.now);
        };
        let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let id = header("webhook-id").unwrap_or_default();
        let timestamp = header("webhook-timestamp").and_then(|text| text.parse::<i64>().ok());
        let fresh = timestamp.is_some_and(|timestamp| (arrival.now.as_second() - timestamp).abs() <= TOLERANCE);
        let signed = endpoint
            .keys
            .iter()
            .any(|key| verifies(key, request.headers(), request.body()));
        let answer = endpoint.answer(signed && fresh, arrival);
        self.entries.push(Entry::Delivery(
            arrival.ordinal,
            Delivery {
                endpoint: name,
                id: id.to_owned(),
                body: request.body().clone(),
                signed,
                status: answer.status().as_u16(),
            },
        ));
        answer
    }
}

impl Endpoint {
    fn answer(&self, believed: bool, arrival: Arrival) -> Response<Bytes> {
        let answers = |status: u16| {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            with_body(empty(status, arrival.now), "text/html", Bytes::from(page()))
        };
        match &self.mode {
            _ if !believed => answers(401),
            EndpointMode::Answers(status) => answers(*status),
            EndpointMode::Pauses(status, pause) => with_retry_after(answers(*status), Some(pause), arrival.now),
            EndpointMode::Redirects => with_header(
                answers(302),
                header::LOCATION,
                HeaderValue::from_static("https://elsewhere.example/"),
            ),
        }
    }
}

/// Whether a signature is that key's. The library's own check goes by the real clock, so only its signing is used.
fn verifies(key: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(id), Some(timestamp), Some(signatures)) = (
        header(standardwebhooks::HEADER_WEBHOOK_ID),
        header(standardwebhooks::HEADER_WEBHOOK_TIMESTAMP).and_then(|text| text.parse::<i64>().ok()),
        header(standardwebhooks::HEADER_WEBHOOK_SIGNATURE),
    ) else {
        return false;
    };
    let good = Webhook::new(key).and_then(|webhook| webhook.sign(id, timestamp, body));
    good.is_ok_and(|good| signatures.split(' ').any(|signature| signature == good))
}
