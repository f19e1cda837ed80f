//! One try to deliver one message.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};

use super::{
    guard::{GuardPolicy, Refusal},
    payload::content_type,
    sign::SigningKeys,
};
use crate::{
    api::WebhookFormat,
    clock::Clock,
    termination::answer::Unreachable,
    transport::{self, CallErrorKind, HttpService, Limits, Lost, RequestPolicy},
};

/// A message and where it goes.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The endpoint's URL, as the connection names it now.
    pub url: String,
    /// The body, the same at every try.
    pub body: Bytes,
    /// The format that the body has.
    pub format: WebhookFormat,
    /// The `webhook-id`, the same at every try.
    pub id: String,
    /// The keys that sign, as the Secret holds them now.
    pub keys: SigningKeys,
    /// Time from departure to the last byte that is read.
    pub timeout: Duration,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempted {
    /// The endpoint answered 2xx.
    Delivered {
        /// The HTTP status.
        status: u16,
    },
    /// The endpoint did not accept it this time.
    Retry {
        /// The HTTP status, if an answer came.
        status: Option<u16>,
        /// `Retry-After`: not before that.
        retry_after: Option<Duration>,
        /// What happened, in a sentence.
        reason: String,
    },
    /// 410: the endpoint wants no more.
    Gone,
    /// The guard let nothing leave. Tried again by the schedule: what it goes by can be put right.
    Refused(Refusal),
}

/// Makes one try. Redirects are not followed, and of the answer no more than 8 KiB are read and nothing is kept but the
/// status and `Retry-After`.
pub async fn deliver(service: &HttpService, clock: &dyn Clock, policy: &GuardPolicy, delivery: &Delivery) -> Attempted {
    let url = match policy.check(&delivery.url) {
        Ok(url) => url,
        Err(refusal) => return Attempted::Refused(refusal),
    };
    // The timestamp is the try's own, so that receivers can refuse what is replayed to them.
    let timestamp = clock.now().as_second();
    let signature = delivery.keys.signature(&delivery.id, timestamp, &delivery.body);
    let request = Request::builder()
        .method(Method::POST)
        .uri(url.as_str())
        .header(header::CONTENT_TYPE, content_type(delivery.format))
        .header(header::USER_AGENT, transport::USER_AGENT)
        .header("webhook-id", &delivery.id)
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", signature)
        .extension(RequestPolicy {
            ca_bundle: None,
            addresses: Some(policy.addresses().clone()),
        })
        .body(delivery.body.clone());
    let Ok(request) = request else {
        return Attempted::Refused(Refusal::NotAUrl);
    };
    match transport::send(service, clock, request, Limits::webhook(delivery.timeout)).await {
        Ok(received) if received.status.is_success() => Attempted::Delivered {
            status: received.status.as_u16(),
        },
        Ok(received) if received.status == StatusCode::GONE => Attempted::Gone,
        Ok(received) => Attempted::Retry {
            status: Some(received.status.as_u16()),
            retry_after: received.retry_after(),
            reason: if received.status.is_redirection() {
                format!(
                    "the endpoint answered with a redirect ({}), which is not followed",
                    received.status.as_u16()
                )
            } else {
                format!("the endpoint answered HTTP {}", received.status.as_u16())
            },
        },
        Err(error) => lost(error.kind),
    }
}

fn lost(kind: CallErrorKind) -> Attempted {
    let reason = match kind {
        CallErrorKind::Blocked => return Attempted::Refused(Refusal::Address),
        CallErrorKind::Unreachable(Unreachable::Connect) => "no connection to the endpoint could be made",
        CallErrorKind::Unreachable(Unreachable::Tls) => {
            "the TLS handshake with the endpoint failed, or its certificate is not trusted"
        }
        CallErrorKind::Unanswered(Lost::Timeout) => "the endpoint did not answer in time",
        CallErrorKind::Unanswered(Lost::Reset) => "the connection to the endpoint broke before its answer came",
    };
    Attempted::Retry {
        status: None,
        retry_after: None,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests;
