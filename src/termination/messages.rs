//! Sentences for people: what happened and what to do. No instants, spans or counters, which would make every repeat
//! look like news; no ids that change with each call; never a vendor's text.

use super::answer::{Evidence, Failure, Suspicion, Unreachable};
use crate::api::{PinnedConnection, conditions::ConditionReason};

/// The reason of `Ready=Unknown` that belongs to a failure.
pub fn reason(failure: Failure) -> ConditionReason {
    match failure {
        Failure::NotFound { .. } => ConditionReason::RouteNotProven,
        Failure::Suspicious(_) => ConditionReason::SuspiciousAnswer,
        Failure::Unauthorized => ConditionReason::CredentialsInvalid,
        Failure::TokenDied => ConditionReason::Progressing,
        Failure::Forbidden => ConditionReason::PermissionDenied,
        Failure::Throttled => ConditionReason::RateLimited,
        Failure::Refused | Failure::Transient | Failure::Unreachable(_) | Failure::Unanswered => {
            ConditionReason::RetryScheduled
        }
    }
}

/// What a failed look means, and what to do.
pub fn look_failed(failure: Failure, evidence: &Evidence, connection: &PinnedConnection) -> String {
    sentence(
        "The look at the session",
        "webchat:guest:read",
        failure,
        evidence,
        connection,
    )
}

/// What a failed terminate call means, and what to do.
pub fn call_failed(failure: Failure, evidence: &Evidence, connection: &PinnedConnection) -> String {
    sentence(
        "The terminate call",
        "webchat:guest:manage",
        failure,
        evidence,
        connection,
    )
}

fn sentence(what: &str, scope: &str, failure: Failure, evidence: &Evidence, connection: &PinnedConnection) -> String {
    let answer = answered(evidence);
    let (name, host) = (&connection.name, &connection.host);
    match failure {
        Failure::NotFound { .. } => format!(
            "{what} was answered {answer}, but no guest was ever read through connection {name}, so a wrong address cannot be told from a session that is over. Nothing was ended. See the connection's condition RouteProven."
        ),
        Failure::Refused => format!("{what} was refused by the vendor: {answer}."),
        Failure::Suspicious(suspicion) => {
            format!("{what} got {answer}: {} {}", suspicious(suspicion), check(name, host))
        }
        Failure::TokenDied => {
            format!("{what} was answered {answer}: the access token had died. It is made again with a fresh one.")
        }
        Failure::Unauthorized => format!(
            "{what} was answered {answer} with a fresh token. Check the credentials of connection {name} and the client's roles."
        ),
        Failure::Forbidden => format!(
            "{what} was answered {answer}: the client of connection {name} lacks the scope {scope}, or the permission for this session's division."
        ),
        Failure::Throttled => {
            format!("{what} was answered {answer}; connection {name} pauses for as long as the vendor asked.")
        }
        Failure::Transient => format!("{what} was answered {answer}; it is tried again."),
        Failure::Unreachable(Unreachable::Connect) => {
            format!("{what} did not reach {host}: no connection. It is tried again.")
        }
        Failure::Unreachable(Unreachable::Tls) => format!(
            "{what} did not reach {host}: the TLS handshake failed. Check the server's certificate and spec.caBundleSecretRef of connection {name}."
        ),
        Failure::Unanswered => match evidence.http_status {
            Some(200..=299) => format!("{what} got an answer that broke off; the session is looked at again."),
            Some(_) => format!("{what} was answered {answer}; the session is looked at before anything else."),
            None => format!("{what} got no answer in time; the session is looked at before anything else."),
        },
    }
}

fn suspicious(suspicion: Suspicion) -> &'static str {
    match suspicion {
        Suspicion::ForeignNotFound => "not in the vendor's shape, as a gateway without a route would answer.",
        Suspicion::ForeignError => "not in the vendor's error shape.",
        Suspicion::Redirect => "redirects are never followed.",
        Suspicion::ProxyAuthentication => "a proxy asks for credentials.",
        Suspicion::WrongBody => "the body is not what was asked for.",
        Suspicion::OtherGuest => "the answer is about another guest.",
    }
}

fn check(name: &str, host: &str) -> String {
    format!("Nothing is concluded from it. Check that connection {name} points to the right address (now {host}).")
}

/// A look that shows a state which is neither active nor over.
pub fn unclear(state: &str) -> String {
    format!("The session is in the state {state:?}, which is neither active nor over; it is looked at again.")
}

/// The answer in a word: `HTTP 503 (service.unavailable)`.
pub fn answered(evidence: &Evidence) -> String {
    match (evidence.http_status, &evidence.error_code) {
        (Some(status), Some(code)) => format!("HTTP {status} ({code})"),
        (Some(status), None) => format!("HTTP {status}"),
        (None, _) => "no answer".to_owned(),
    }
}
