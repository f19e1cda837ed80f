use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use k8s_openapi::jiff::Timestamp;
use rstest::rstest;

use super::*;
use crate::{
    termination::answer::{Proof, Unreachable},
    transport::Lost,
};

mod properties;

const CORRELATED: (&str, &str) = ("inin-correlation-id", "c0ffee");
const GONE: Failure = Failure::NotFound { conclusive: true };
const MISSING: Failure = Failure::NotFound { conclusive: false };
const FOREIGN_404: Failure = Failure::Suspicious(Suspicion::ForeignNotFound);
const FOREIGN_4XX: Failure = Failure::Suspicious(Suspicion::ForeignError);
const WRONG: Call = Call::Failed(Failure::Suspicious(Suspicion::WrongBody));

fn received(status: u16, headers: &[(&str, &str)], body: &str) -> Received {
    Received {
        status: StatusCode::from_u16(status).unwrap(),
        headers: headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect(),
        body: Bytes::from(body.to_owned()),
        body_end: BodyEnd::Complete,
        received_at: Timestamp::UNIX_EPOCH,
        duration: Duration::from_millis(12),
    }
}

fn guest() -> GuestId {
    GuestId::parse("guest-1").unwrap()
}

fn codes() -> Vec<String> {
    vec!["guest_gone".to_owned()]
}

fn look_at(received: &Received) -> Look {
    look(received, &guest(), &codes()).verdict
}

fn call_for(received: &Received) -> Call {
    call(received, &guest(), &codes()).verdict
}

/// An error in the vendor's shape.
fn vendor_error(status: u16, code: &str) -> String {
    serde_json::json!({
        "message": "masked", "code": code, "status": status, "contextId": "x", "details": [], "errors": [],
    })
    .to_string()
}

#[rstest]
#[case("active")]
#[case("closed")]
#[case("terminated")]
#[case("ended")]
#[case("expired")]
#[case("disconnected")]
#[case("Active")]
#[case("paused")]
fn a_look_says_what_the_state_says(#[case] state: &str) {
    let body = format!(r#"{{"id":"guest-1","state":"{state}","lastUpdated":"2026-01-01T00:00:00Z","new":1}}"#);
    let seen = SessionSeen {
        state: state.to_owned(),
        last_updated: Some("2026-01-01T00:00:00Z".to_owned()),
    };
    let expected = match state {
        "active" => Look::Active(seen),
        "Active" | "paused" => Look::Unclear(seen),
        _ => Look::Ended(seen),
    };
    assert_eq!(look_at(&received(200, &[], &body)), expected);
}

#[rstest]
#[case(r#"{"id":"guest-2","state":"closed"}"#, Suspicion::OtherGuest)]
#[case(r#"{"id":"GUEST-1","state":"closed"}"#, Suspicion::OtherGuest)]
#[case(r#"{"id":"guest-1"}"#, Suspicion::WrongBody)]
#[case(r#"{"state":"closed"}"#, Suspicion::WrongBody)]
#[case(r#"{"id":"guest-1","state":""}"#, Suspicion::WrongBody)]
#[case(r#"{"id":"guest-1","state":"closed "}"#, Suspicion::WrongBody)]
#[case(r#"{"id":"guest-1","state":7}"#, Suspicion::WrongBody)]
#[case(r#"{"id":"guest-1","id":"guest-2","state":"closed"}"#, Suspicion::WrongBody)]
#[case(r#"{"id":"guest-1","state":"clo"#, Suspicion::WrongBody)]
#[case(r#"[{"id":"guest-1","state":"closed"}]"#, Suspicion::WrongBody)]
#[case("<html>closed</html>", Suspicion::WrongBody)]
#[case("", Suspicion::WrongBody)]
fn a_200_that_shows_no_such_guest_is_suspicious(#[case] body: &str, #[case] suspicion: Suspicion) {
    let verdict = look_at(&received(200, &[], body));
    assert_eq!(verdict, Look::Failed(Failure::Suspicious(suspicion)));
}

#[test]
fn a_time_that_is_odd_is_left_out() {
    for odd in [r#""a\nb""#, "5", r#""""#, &format!("\"{}\"", "9".repeat(65))] {
        let body = format!(r#"{{"id":"guest-1","state":"active","lastUpdated":{odd}}}"#);
        let expected = Look::Active(SessionSeen {
            state: "active".to_owned(),
            last_updated: None,
        });
        assert_eq!(look_at(&received(200, &[], &body)), expected, "{odd}");
    }
}

#[rstest]
#[case(204, "", Call::Applied)]
#[case(200, "", Call::Applied)]
#[case(200, "{}", Call::Applied)]
#[case(200, r#"{"id":"guest-1"}"#, Call::Applied)]
#[case(200, r#"{"id":"guest-1","state":"closed"}"#, Call::Applied)]
#[case(200, r#"{"success":true,"errors":[]}"#, Call::Applied)]
#[case(200, r#"{"id":"guest-1","state":"active"}"#, Call::Accepted)]
#[case(200, r#"{"id":"guest-1","state":"closing"}"#, Call::Accepted)]
#[case(202, "", Call::Accepted)]
#[case(202, "<html>", Call::Accepted)]
#[case(200, r#"{"id":"guest-2"}"#, Call::Failed(Failure::Suspicious(Suspicion::OtherGuest)))]
#[case(200, "<html>", WRONG)]
#[case(200, "{", WRONG)]
#[case(200, "\"ok\"", WRONG)]
#[case(200, r#"{"error":"no route"}"#, WRONG)]
#[case(200, r#"{"message":"no Route matched with those values"}"#, WRONG)]
#[case(200, r#"{"success":false}"#, WRONG)]
#[case(200, r#"{"code":"bad","message":"m"}"#, WRONG)]
#[case(200, r#"{"kind":"Status","status":"Success"}"#, WRONG)]
#[case(200, r#"{"status":500}"#, WRONG)]
#[case(201, "", WRONG)]
#[case(205, "", WRONG)]
#[case(206, "", WRONG)]
fn a_2xx_to_a_terminate(#[case] status: u16, #[case] body: &str, #[case] expected: Call) {
    assert_eq!(call_for(&received(status, &[], body)), expected);
}

#[rstest]
#[case(201)]
#[case(202)]
#[case(204)]
#[case(206)]
fn a_look_needs_a_200(#[case] status: u16) {
    let verdict = look_at(&received(status, &[], r#"{"id":"guest-1","state":"closed"}"#));
    assert_eq!(verdict, Look::Failed(Failure::Suspicious(Suspicion::WrongBody)));
}

/// The rows that look and call have in common.
#[rstest]
// The closed list, in the vendor's shape.
#[case(404, &[], vendor_error(404, "conversation.error.conversation.not.found"), GONE)]
#[case(410, &[], vendor_error(410, "conversation.error.conversation.not.found"), GONE)]
#[case(404, &[], vendor_error(404, "guest_gone"), GONE)]
#[case(404, &[], r#"{"code":"guest_gone"}"#.to_owned(), GONE)]
#[case(404, &[], vendor_error(404, "not.found"), MISSING)]
#[case(410, &[], r#"{"code":"not.found"}"#.to_owned(), MISSING)]
#[case(404, &[CORRELATED], String::new(), MISSING)]
#[case(404, &[("x-request-id", "r-1")], String::new(), MISSING)]
// What gateways say.
#[case(404, &[], String::new(), FOREIGN_404)]
#[case(404, &[("x-request-id", " ")], String::new(), FOREIGN_404)]
#[case(404, &[CORRELATED], "<html>".to_owned(), FOREIGN_404)]
#[case(404, &[CORRELATED], "404 page not found\n".to_owned(), FOREIGN_404)]
#[case(404, &[CORRELATED], r#"{"kind":"Status","code":404,"message":"m"}"#.to_owned(), FOREIGN_404)]
#[case(404, &[CORRELATED], r#"{"message":"no Route matched with those values"}"#.to_owned(), FOREIGN_404)]
#[case(404, &[CORRELATED], r#"{"status":404,"error":"Not Found","path":"/"}"#.to_owned(), FOREIGN_404)]
#[case(404, &[], vendor_error(404, "route.not.found"), FOREIGN_404)]
#[case(404, &[], vendor_error(400, "not.found"), FOREIGN_404)]
#[case(404, &[], r#"{"code":"not.found","message":5}"#.to_owned(), FOREIGN_404)]
#[case(404, &[], r#"{"code":"not.found","status":"404"}"#.to_owned(), FOREIGN_404)]
#[case(410, &[], "gone".to_owned(), FOREIGN_404)]
// Refusals for good, in the vendor's shape and in another.
#[case(400, &[], vendor_error(400, "bad.request"), Failure::Refused)]
#[case(405, &[], vendor_error(405, "method.not.allowed"), Failure::Refused)]
#[case(413, &[], vendor_error(413, "too.large"), Failure::Refused)]
#[case(415, &[], vendor_error(415, "unsupported"), Failure::Refused)]
#[case(422, &[], vendor_error(422, "invalid"), Failure::Refused)]
#[case(418, &[], vendor_error(418, "teapot"), Failure::Refused)]
#[case(400, &[], r#"{"code":"bad.request","message":"m"}"#.to_owned(), Failure::Refused)]
#[case(400, &[], r#"{"code":"bad.request"}"#.to_owned(), FOREIGN_4XX)]
#[case(400, &[], r#"{"code":"0bad","message":"m"}"#.to_owned(), FOREIGN_4XX)]
#[case(400, &[], vendor_error(422, "bad.request"), FOREIGN_4XX)]
#[case(400, &[], "<html>".to_owned(), FOREIGN_4XX)]
#[case(400, &[], String::new(), FOREIGN_4XX)]
#[case(405, &[], "Method Not Allowed".to_owned(), FOREIGN_4XX)]
#[case(422, &[], "[]".to_owned(), FOREIGN_4XX)]
#[case(301, &[], String::new(), Failure::Suspicious(Suspicion::Redirect))]
#[case(302, &[], vendor_error(302, "x"), Failure::Suspicious(Suspicion::Redirect))]
#[case(307, &[], String::new(), Failure::Suspicious(Suspicion::Redirect))]
#[case(304, &[], String::new(), Failure::Suspicious(Suspicion::Redirect))]
#[case(407, &[], vendor_error(407, "x"), Failure::Suspicious(Suspicion::ProxyAuthentication))]
// Rows that the status alone decides.
#[case(401, &[], vendor_error(401, "bad.credentials"), Failure::Unauthorized)]
#[case(401, &[], "<html>".to_owned(), Failure::Unauthorized)]
#[case(403, &[], vendor_error(403, "missing.permissions"), Failure::Forbidden)]
#[case(403, &[], String::new(), Failure::Forbidden)]
#[case(429, &[], vendor_error(429, "too.many.requests"), Failure::Throttled)]
#[case(429, &[], String::new(), Failure::Throttled)]
#[case(408, &[], String::new(), Failure::Transient)]
#[case(425, &[], String::new(), Failure::Transient)]
#[case(500, &[], vendor_error(500, "internal.error"), Failure::Transient)]
#[case(502, &[], "<html>".to_owned(), Failure::Transient)]
#[case(503, &[], String::new(), Failure::Transient)]
#[case(504, &[], String::new(), Failure::Transient)]
#[case(599, &[], String::new(), Failure::Transient)]
#[case(409, &[], vendor_error(409, "conflict"), Failure::Unanswered)]
#[case(101, &[], String::new(), FOREIGN_4XX)]
fn a_failure_has_its_row(
    #[case] status: u16,
    #[case] headers: &[(&str, &str)],
    #[case] body: String,
    #[case] expected: Failure,
) {
    let received = received(status, headers, &body);
    assert_eq!(look_at(&received), Look::Failed(expected));
    assert_eq!(call_for(&received), Call::Failed(expected));
}

#[rstest]
#[case(400, vendor_error(400, "bad.request"), Proof::NotApplied)]
#[case(401, vendor_error(401, "bad.credentials"), Proof::NotApplied)]
#[case(403, vendor_error(403, "missing.permissions"), Proof::NotApplied)]
#[case(429, vendor_error(429, "too.many.requests"), Proof::NotApplied)]
#[case(429, String::new(), Proof::Unknown)]
#[case(401, "<html>".to_owned(), Proof::Unknown)]
#[case(400, "<html>".to_owned(), Proof::Unknown)]
#[case(409, vendor_error(409, "conflict"), Proof::Unknown)]
#[case(503, vendor_error(503, "unavailable"), Proof::Unknown)]
#[case(202, String::new(), Proof::Unknown)]
#[case(201, String::new(), Proof::Unknown)]
#[case(204, String::new(), Proof::Applied)]
fn only_the_vendors_own_word_proves_that_nothing_happened(
    #[case] status: u16,
    #[case] body: String,
    #[case] proof: Proof,
) {
    assert_eq!(call(&received(status, &[], &body), &guest(), &[]).proves(), proof);
}

/// The head of an answer may count although its body broke off; a body that broke off never does.
#[rstest]
#[case(200, BodyEnd::Interrupted, Failure::Unanswered)]
#[case(200, BodyEnd::TimedOut, Failure::Unanswered)]
#[case(200, BodyEnd::OverCap, Failure::Suspicious(Suspicion::WrongBody))]
#[case(404, BodyEnd::Interrupted, Failure::Unanswered)]
#[case(404, BodyEnd::OverCap, FOREIGN_404)]
#[case(400, BodyEnd::TimedOut, Failure::Unanswered)]
#[case(400, BodyEnd::OverCap, FOREIGN_4XX)]
#[case(429, BodyEnd::TimedOut, Failure::Throttled)]
#[case(401, BodyEnd::Interrupted, Failure::Unauthorized)]
#[case(302, BodyEnd::Interrupted, Failure::Suspicious(Suspicion::Redirect))]
#[case(503, BodyEnd::Interrupted, Failure::Transient)]
fn a_body_that_broke_off_proves_nothing(#[case] status: u16, #[case] end: BodyEnd, #[case] expected: Failure) {
    let bodies = [
        String::new(),
        vendor_error(status, "not.found"),
        r#"{"id":"guest-1","state":"closed"}"#.to_owned(),
    ];
    for body in bodies {
        let mut received = received(status, &[CORRELATED], &body);
        received.body_end = end;
        assert_eq!(look_at(&received), Look::Failed(expected));
        let answer = call(&received, &guest(), &codes());
        assert_eq!(
            (&answer.verdict, answer.proves()),
            (&Call::Failed(expected), Proof::Unknown)
        );
        assert_eq!(answer.evidence.error_code, None);
    }
}

#[test]
fn an_answer_that_never_came_keeps_what_is_known() {
    let rows = [
        (
            CallErrorKind::Unreachable(Unreachable::Connect),
            Failure::Unreachable(Unreachable::Connect),
            Proof::NotApplied,
        ),
        (
            CallErrorKind::Unreachable(Unreachable::Tls),
            Failure::Unreachable(Unreachable::Tls),
            Proof::NotApplied,
        ),
        (
            CallErrorKind::Unanswered(Lost::Timeout),
            Failure::Unanswered,
            Proof::Unknown,
        ),
        (
            CallErrorKind::Unanswered(Lost::Reset),
            Failure::Unanswered,
            Proof::Unknown,
        ),
    ];
    for (kind, expected, proof) in rows {
        let duration = Duration::from_millis(7);
        let answer = lost(CallError { kind, duration }, Call::Failed);
        assert_eq!((answer.proves(), answer.evidence.duration), (proof, duration));
        assert_eq!(answer.verdict, Call::Failed(expected));
    }
}

#[test]
fn evidence_is_single_values_that_were_checked() {
    let headers = [
        ("inin-correlation-id", "corr-1"),
        ("x-request-id", "req-1"),
        ("inin-ratelimit-allowed", "300"),
        ("retry-after", "7"),
    ];
    let answer = call(
        &received(429, &headers, &vendor_error(429, "too.many.requests")),
        &guest(),
        &[],
    );
    let expected = Evidence {
        http_status: Some(429),
        error_code: Some("too.many.requests".to_owned()),
        correlation_id: Some("corr-1".to_owned()),
        retry_after: Some(Duration::from_secs(7)),
        allowed: Some(300),
        duration: Duration::from_millis(12),
    };
    assert_eq!(answer.evidence, expected);
}

#[rstest]
#[case("1", Some(1))]
#[case("100000", Some(100_000))]
#[case("0", None)]
#[case("-1", None)]
#[case("100001", None)]
#[case("99999999999999999999", None)]
#[case("many", None)]
fn an_absurd_allowance_is_ignored(#[case] value: &str, #[case] expected: Option<u32>) {
    let answer = look(&received(503, &[("inin-ratelimit-allowed", value)], ""), &guest(), &[]);
    assert_eq!(answer.evidence.allowed, expected);
}

#[test]
fn a_correlation_id_that_cannot_be_printed_gives_way_to_the_request_id() {
    let long = "a".repeat(129);
    for bad in ["", "t\tab", "ünïcode", long.as_str()] {
        let mut received = received(503, &[("x-request-id", "req-1")], "");
        received
            .headers
            .insert("inin-correlation-id", HeaderValue::from_bytes(bad.as_bytes()).unwrap());
        let answer = look(&received, &guest(), &[]);
        assert_eq!(answer.evidence.correlation_id.as_deref(), Some("req-1"), "{bad}");
    }
}
