//! Requests as they leave and answers as they come back, with the network left out.

use std::time::Duration;

use http::{Method, header};
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{
    api::Reason,
    clock::SystemClock,
    termination::{
        answer::{Call, Failure, Look, Suspicion, Unreachable},
        request::{ExternalRef, GuestId, Termination},
    },
    transport::{TransportError, testing},
};

mod simulator;

fn target(base: &str) -> Target {
    let url: url::Url = base.parse().unwrap();
    Target {
        endpoints: Endpoints {
            api: url.clone(),
            login: url,
            host: "host".to_owned(),
        },
        ca_bundle: None,
        not_found_codes: vec![],
    }
}

fn termination(guest: &str, reference: Option<&str>) -> Termination {
    Termination {
        guest: GuestId::parse(guest).unwrap(),
        reason: Reason::CustomerInitiated,
        retain_data: true,
        external_ref: reference.map(|text| ExternalRef::parse(text).unwrap()),
    }
}

fn built(base: &str, termination: &Termination) -> http::Request<bytes::Bytes> {
    let token = AccessToken::for_test("secret-token");
    web_messaging_guests::terminate(&target(base).endpoints, &token, termination).unwrap()
}

#[test]
fn a_terminate_is_the_contracts_request() {
    let request = built(
        "https://api.us-east-1.mygenesys.com",
        &termination("guest-12345-abcde", Some("ext-ref-98765")),
    );
    assert_eq!(request.method(), Method::DELETE);
    assert_eq!(
        request.uri().to_string(),
        "https://api.us-east-1.mygenesys.com/api/v2/webmessaging/guests/guest-12345-abcde\
         ?reason=customer_initiated&retainData=true&externalRef=ext-ref-98765"
    );
    assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer secret-token");
    assert_eq!(request.headers()[header::ACCEPT], "application/json");
    assert_eq!(request.headers()[header::CONTENT_TYPE], "application/json");
    assert!(request.body().is_empty());
    assert!(!format!("{request:?}").contains("secret-token"));
}

#[test]
fn a_look_is_the_contracts_request() {
    let guest = GuestId::parse("guest-1").unwrap();
    let token = AccessToken::for_test("secret-token");
    let request = web_messaging_guests::observe(&target("https://a.example/base").endpoints, &token, &guest).unwrap();
    assert_eq!(request.method(), Method::GET);
    assert_eq!(
        request.uri(),
        "https://a.example/base/api/v2/webmessaging/guests/guest-1"
    );
    assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer secret-token");
}

#[test]
fn without_a_reference_there_is_no_parameter() {
    let mut termination = termination("guest-1", None);
    termination.retain_data = false;
    let request = built("https://a.example", &termination);
    assert_eq!(
        request.uri().query(),
        Some("reason=customer_initiated&retainData=false")
    );
}

#[rstest]
#[case("a b", "a%20b")]
#[case("a+b&c=d#e?f/g%h", "a%2Bb%26c%3Dd%23e%3Ff%2Fg%25h")]
#[case("😀é", "%F0%9F%98%80%C3%A9")]
#[case("-._~'", "-._~%27")]
fn a_reference_is_escaped(#[case] reference: &str, #[case] escaped: &str) {
    let request = built("https://a.example", &termination("guest-1", Some(reference)));
    assert!(
        request
            .uri()
            .query()
            .unwrap()
            .ends_with(&format!("&externalRef={escaped}")),
        "{}",
        request.uri()
    );
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded_to_the_same(
        guest in "[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?",
        reference in proptest::option::of("\\PC{1,256}|[&=+%#? 😀é;/\\\\]{1,20}"),
        retain in any::<bool>(),
        base in prop_oneof![Just("https://a.example"), Just("https://a.example/x/y"), Just("http://localhost:1/z%20z")],
    ) {
        prop_assume!(!guest.contains(".."));
        let mut asked = termination(&guest, None);
        asked.external_ref = reference.as_deref().and_then(|text| ExternalRef::parse(text).ok());
        asked.retain_data = retain;
        let request = built(base, &asked);
        let url: url::Url = request.uri().to_string().parse().unwrap();
        prop_assert_eq!(url.path_segments().unwrap().next_back(), Some(guest.as_str()));
        let path = format!("/api/v2/webmessaging/guests/{guest}");
        prop_assert!(url.path().ends_with(&path));
        let decoded: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let mut expected = vec![
            ("reason".to_owned(), "customer_initiated".to_owned()),
            ("retainData".to_owned(), retain.to_string()),
        ];
        if let Some(reference) = &asked.external_ref {
            expected.push(("externalRef".to_owned(), reference.as_str().to_owned()));
        }
        prop_assert_eq!(decoded, expected);
        // A decoder of URIs, to which '+' is no space, reads the same.
        if let Some(reference) = &asked.external_ref {
            let raw = request.uri().query().unwrap().rsplit("externalRef=").next().unwrap().to_owned();
            let plain = percent_encoding::percent_decode_str(&raw).decode_utf8().unwrap().into_owned();
            prop_assert_eq!(plain, reference.as_str());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_one_request_and_its_answer() {
    let service = testing::service(|request| async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(match *request.method() {
            Method::GET => testing::answer(200, &[], r#"{"id":"guest-1","state":"active"}"#),
            _ => testing::answer(204, &[("x-request-id", "req-9876543210")], ""),
        })
    });
    let client = VendorClient::new(service, SystemClock::shared());
    let (target, token) = (target("https://a.example"), AccessToken::for_test("t"));
    let termination = termination("guest-1", None);
    let look = client.observe(&target, &token, &termination.guest).await;
    assert!(matches!(look.verdict, Look::Active(_)));
    let call = client.terminate(&target, &token, &termination).await;
    assert_eq!(call.verdict, Call::Applied);
    assert_eq!(call.evidence.correlation_id.as_deref(), Some("req-9876543210"));
    assert_eq!(call.evidence.duration, Duration::from_millis(20));
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_below_the_seam_has_its_verdict() {
    for (error, expected) in [
        (TransportError::Connect, Failure::Unreachable(Unreachable::Connect)),
        (TransportError::Tls, Failure::Unreachable(Unreachable::Tls)),
        (TransportError::Interrupted, Failure::Unanswered),
    ] {
        let client = VendorClient::new(
            testing::service(move |_| async move { Err(error) }),
            SystemClock::shared(),
        );
        let (target, token) = (target("https://a.example"), AccessToken::for_test("t"));
        let termination = termination("guest-1", None);
        assert_eq!(
            client.terminate(&target, &token, &termination).await.verdict,
            Call::Failed(expected)
        );
        assert_eq!(
            client.observe(&target, &token, &termination.guest).await.verdict,
            Look::Failed(expected)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_cap_is_suspicious_and_a_silent_server_unanswered() {
    let large = format!(
        r#"{{"id":"guest-1","state":"closed","pad":"{}"}}"#,
        "x".repeat(64 * 1024)
    );
    let client = VendorClient::new(
        testing::service(move |request| {
            let large = large.clone();
            async move {
                if *request.method() == Method::DELETE {
                    std::future::pending::<()>().await;
                }
                Ok(testing::answer(200, &[], &large))
            }
        }),
        SystemClock::shared(),
    );
    let (target, token) = (target("https://a.example"), AccessToken::for_test("t"));
    let termination = termination("guest-1", None);
    let look = client.observe(&target, &token, &termination.guest).await;
    assert_eq!(look.verdict, Look::Failed(Failure::Suspicious(Suspicion::WrongBody)));
    let call = client.terminate(&target, &token, &termination).await;
    assert_eq!(call.verdict, Call::Failed(Failure::Unanswered));
    assert_eq!(call.evidence.duration, Duration::from_secs(10));
}
