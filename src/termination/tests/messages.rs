//! What people are told of a failure: what happened, and what to do.

use super::bench::*;
use crate::termination::{
    answer::{Evidence, Failure, Suspicion, Unreachable},
    messages::{answered, call_failed, look_failed, unclear},
};

fn evidence(http_status: Option<u16>, error_code: Option<&str>) -> Evidence {
    answer((), http_status, error_code).evidence
}

/// Each failure by its own words, whichever of the two calls it befell.
#[test]
fn each_failure_is_told_by_its_own_words() {
    let suspicious = Failure::Suspicious;
    let told = [
        (
            Failure::NotFound { conclusive: false },
            Some(404),
            "cannot be told from a session that is over",
        ),
        (
            Failure::Refused,
            Some(400),
            "was refused by the vendor: HTTP 400 (code).",
        ),
        (
            suspicious(Suspicion::ForeignNotFound),
            Some(404),
            "as a gateway without a route would answer",
        ),
        (
            suspicious(Suspicion::ForeignError),
            Some(400),
            "not in the vendor's error shape",
        ),
        (
            suspicious(Suspicion::Redirect),
            Some(302),
            "redirects are never followed",
        ),
        (
            suspicious(Suspicion::ProxyAuthentication),
            Some(407),
            "a proxy asks for credentials",
        ),
        (
            suspicious(Suspicion::WrongBody),
            Some(200),
            "the body is not what was asked for",
        ),
        (
            suspicious(Suspicion::OtherGuest),
            Some(200),
            "the answer is about another guest",
        ),
        (
            suspicious(Suspicion::OtherGuest),
            Some(200),
            "points to the right address (now api.example.com)",
        ),
        (
            Failure::Unauthorized,
            Some(401),
            "with a fresh token. Check the credentials of connection prod-eu",
        ),
        (Failure::TokenDied, Some(401), "the access token had died"),
        (Failure::Forbidden, Some(403), "lacks the scope"),
        (Failure::Throttled, Some(429), "pauses for as long as the vendor asked"),
        (
            Failure::Transient,
            Some(503),
            "was answered HTTP 503 (code); it is tried again",
        ),
        (
            Failure::Unreachable(Unreachable::Connect),
            None,
            "did not reach api.example.com: no connection",
        ),
        (Failure::Unreachable(Unreachable::Tls), None, "the TLS handshake failed"),
        (Failure::Unanswered, Some(200), "got an answer that broke off"),
        (
            Failure::Unanswered,
            Some(409),
            "was answered HTTP 409 (code); the session is looked at before",
        ),
        (Failure::Unanswered, None, "got no answer in time"),
    ];
    for (failure, status, words) in told {
        let evidence = evidence(status, Some("code"));
        let look = look_failed(failure, &evidence, &connection("connection-1"));
        assert!(
            look.starts_with("The look at the session ") && look.contains(words),
            "{look}"
        );
        let call = call_failed(failure, &evidence, &connection("connection-1"));
        assert!(
            call.starts_with("The terminate call ") && call.contains(words),
            "{call}"
        );
    }
}

#[test]
fn an_answer_in_a_word() {
    assert!(unclear("parked").starts_with("The session is in the state \"parked\", which is neither active nor over"));
    assert_eq!(
        answered(&evidence(Some(503), Some("service.unavailable"))),
        "HTTP 503 (service.unavailable)"
    );
    assert_eq!(answered(&evidence(Some(503), None)), "HTTP 503");
    assert_eq!(answered(&evidence(None, None)), "no answer");
}
