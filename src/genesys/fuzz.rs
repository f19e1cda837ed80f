//! What is made of a guest's id and of the vendor's answers, held against any bytes at all.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use k8s_openapi::jiff::Timestamp;
use secrecy::ExposeSecret;
use serde_json::Value;
use url::Url;

use super::{
    classify::{call, look},
    endpoints::Endpoints,
    oauth::AccessToken,
    token_answer::{Refusal, read},
    web_messaging_guests::{observe, terminate},
};
use crate::{
    api::Reason,
    fuzz::fuzz,
    termination::{
        answer::{Call, Evidence, Failure, Look},
        request::{ExternalRef, GuestId, Termination},
    },
    transport::{BodyEnd, Received},
};

const BASES: [&str; 4] = [
    "https://a.example",
    "https://a.example/x/y/",
    "https://[2001:db8::1]:8443/z",
    "http://localhost:1/z%20z",
];

fn endpoints(base: &str) -> Endpoints {
    let spec = serde_json::json!({
        "api": "WebMessagingGuests",
        "credentialsSecretRef": {"name": "genesys"},
        "endpoints": {"apiUrl": base, "loginUrl": base},
    });
    Endpoints::of(&serde_json::from_value(spec).unwrap(), true).unwrap()
}

/// The definition's rule, `^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$` of at most 128 characters without `..`, read as
/// words between single separators rather than as bytes.
fn is_guest_id(text: &str) -> bool {
    let end = |end: Option<char>| end.is_some_and(|end| end.is_ascii_alphanumeric());
    let foreign = text
        .split(|sign: char| sign.is_ascii_alphanumeric())
        .flat_map(str::chars);
    end(text.chars().next())
        && end(text.chars().next_back())
        && text.chars().count() <= 128
        && foreign.into_iter().all(|sign| "._-".contains(sign))
        && text.split("..").count() == 1
}

/// A request leads to one guest of one connection, and to nowhere else.
fn check_target(request: &http::Request<Bytes>, endpoints: &Endpoints, guest: &str) {
    let (uri, base) = (request.uri(), &endpoints.api);
    assert_eq!(uri.scheme_str(), Some(base.scheme()));
    let port = base.port().map(|port| format!(":{port}")).unwrap_or_default();
    let authority = format!("{}{port}", base.host_str().unwrap());
    assert_eq!(uri.authority().unwrap().as_str(), authority);
    let prefix = format!("{}/api/v2/webmessaging/guests/", base.path().trim_end_matches('/'));
    assert_eq!(uri.path().strip_prefix(&prefix), Some(guest), "{uri}");
    // Whoever parses it once more finds the same path.
    assert_eq!(Url::parse(&uri.to_string()).unwrap().path(), uri.path());
}

#[test]
fn a_guest_id_is_one_segment_or_none() {
    let words = [
        "..", ".", "%2e", "/", "\\", "?", "#", ";", "%00", "\r\n", "\u{202e}", "\u{ff0e}", "-", "_", "a",
    ];
    let endpoints = BASES.map(endpoints);
    let token = AccessToken::for_test("token");
    fuzz("guest_id", &words, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let parsed = GuestId::parse(text);
        assert_eq!(
            parsed.is_ok(),
            is_guest_id(text),
            "the code and the definition's rule disagree"
        );
        let Ok(guest) = parsed else { return };
        assert_eq!(guest.as_str(), text);
        for endpoints in &endpoints {
            let look = observe(endpoints, &token, &guest).unwrap();
            assert_eq!((look.method(), look.uri().query()), (&Method::GET, None));
            check_target(&look, endpoints, text);
        }
    });
}

#[test]
fn a_reference_comes_through_as_it_was_written() {
    let words = [
        "&",
        "=",
        "+",
        "%",
        "#",
        "?",
        "&retainData=false",
        "%26",
        "é",
        "😀",
        " ",
        "\"",
        "/../",
    ];
    let endpoints = BASES.map(endpoints);
    let token = AccessToken::for_test("token");
    fuzz("external_ref", &words, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let parsed = ExternalRef::parse(text);
        let length = text.chars().count();
        let plain = (1..=256).contains(&length) && !text.contains(|sign: char| sign.is_control());
        assert_eq!(parsed.is_ok(), plain);
        let Ok(reference) = parsed else { return };
        let termination = Termination {
            guest: GuestId::parse("guest-1").unwrap(),
            reason: Reason::CustomerInitiated,
            retain_data: true,
            external_ref: Some(reference),
        };
        for endpoints in &endpoints {
            let request = terminate(endpoints, &token, &termination).unwrap();
            assert_eq!(request.method(), Method::DELETE);
            check_target(&request, endpoints, "guest-1");
            let query = request.uri().query().unwrap();
            let read: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
            let sent = [
                ("reason", "customer_initiated"),
                ("retainData", "true"),
                ("externalRef", text),
            ];
            assert!(
                read.iter()
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .eq(sent),
                "{query}"
            );
        }
    });
}

/// An answer as the corpus has it: the status, headers, an empty line, the body.
fn received(input: &[u8]) -> Option<Received> {
    let end = input.windows(2).position(|two| two == b"\n\n")?;
    let mut lines = std::str::from_utf8(&input[..end]).ok()?.lines();
    let status = lines.next()?.trim().parse().ok()?;
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        headers.append(
            HeaderName::from_bytes(name.trim().as_bytes()).ok()?,
            HeaderValue::from_str(value.trim()).ok()?,
        );
    }
    Some(Received {
        status: StatusCode::from_u16(status).ok()?,
        headers,
        body: Bytes::copy_from_slice(&input[end + 2..]),
        body_end: BodyEnd::Complete,
        received_at: Timestamp::UNIX_EPOCH,
        duration: Duration::from_millis(12),
    })
}

/// The body as JSON. Bytes that are no UTF-8, in a field that nobody asks for, are let pass: they say nothing of the rest.
fn json(received: &Received) -> Option<Value> {
    serde_json::from_str(&String::from_utf8_lossy(&received.body)).ok()
}

fn check_evidence(evidence: &Evidence, received: &Received) {
    let printable = |text: &str, longest| text.len() <= longest && text.bytes().all(|byte| (32..127).contains(&byte));
    assert_eq!(evidence.http_status, Some(received.status.as_u16()));
    assert!(evidence.correlation_id.as_deref().is_none_or(|id| printable(id, 128)));
    assert!(
        evidence
            .error_code
            .as_deref()
            .is_none_or(|code| printable(code, 100) && !code.contains(' '))
    );
    assert!(
        evidence
            .retry_after
            .is_none_or(|pause| pause <= Duration::from_secs(48 * 3600))
    );
    assert!(evidence.allowed.is_none_or(|allowed| (1..=100_000).contains(&allowed)));
}

/// What a body must hold for a 404 to mean that the session is gone, told without the reader's own types.
fn names_no_session(received: &Received) -> bool {
    let codes = ["not.found", "conversation.error.conversation.not.found", "guest_gone"];
    let body = json(received);
    let code = body
        .as_ref()
        .and_then(|body| body.get("code")?.as_str().map(str::to_owned));
    let traced = ["inin-correlation-id", "x-request-id"]
        .iter()
        .any(|name| received.headers.contains_key(*name));
    code.is_some_and(|code| codes.contains(&code.as_str())) || (received.body.is_empty() && traced)
}

#[test]
fn no_answer_but_the_vendor_s_own_word_is_success() {
    let words = [
        "{\"id\":\"guest-1\",",
        "\"state\":\"closed\"",
        "\"state\":\"active\"",
        "\"code\":\"not.found\"",
        "\"code\":404",
        "\"code\":\"guest_gone\"",
        "\"message\":\"m\"",
        "\"status\":404",
        "\"success\":false",
        "\"error\":null",
        "{}",
        "[]",
        "null",
        "}",
        "200",
        "204",
        "202",
        "404",
        "410",
        "400",
        "inin-correlation-id: c\n",
        "<html>",
    ];
    let (guest, codes) = (GuestId::parse("guest-1").unwrap(), vec!["guest_gone".to_owned()]);
    fuzz("guest_answer", &words, |input| {
        let Some(received) = received(input) else { return };
        let (look, call) = (look(&received, &guest, &codes), call(&received, &guest, &codes));
        let (status, body) = (received.status.as_u16(), &received.body);
        let object = json(&received).filter(Value::is_object);
        match &look.verdict {
            Look::Active(seen) | Look::Ended(seen) | Look::Unclear(seen) => {
                let object = object.clone().expect("a session without an object");
                assert_eq!(status, 200);
                assert_eq!(object["id"], "guest-1", "another guest's session");
                assert_eq!(object["state"], seen.state);
                let over = ["closed", "terminated", "ended", "expired", "disconnected"].contains(&seen.state.as_str());
                assert_eq!(matches!(look.verdict, Look::Ended(_)), over);
                assert_eq!(matches!(look.verdict, Look::Active(_)), seen.state == "active");
            }
            Look::Failed(Failure::NotFound { .. }) => {
                assert!(
                    matches!(status, 404 | 410) && names_no_session(&received),
                    "gone by whose word?"
                );
            }
            Look::Failed(_) => {}
        }
        match call.verdict {
            Call::Applied => match status {
                204 => {}
                200 => {
                    assert!(body.is_empty() || object.is_some(), "applied by no JSON object");
                    let said = |name: &str| object.as_ref().and_then(|object| object.get(name));
                    assert!(said("success").is_none_or(|success| *success == true));
                    assert!(said("id").is_none_or(|id| *id == "guest-1"));
                    assert!(said("state").is_none_or(|state| *state != "active"));
                    assert!(said("error").is_none_or(|error| !error.is_string() || *error == ""));
                }
                _ => panic!("applied by {status}"),
            },
            Call::Accepted => assert!(matches!(status, 200 | 202)),
            Call::Failed(Failure::NotFound { .. }) => {
                assert!(
                    matches!(status, 404 | 410) && names_no_session(&received),
                    "gone by whose word?"
                );
            }
            Call::Failed(Failure::Refused) => {
                let object = object.expect("refused by no JSON object");
                assert!((400..500).contains(&status) && object["code"].is_string() && object["message"].is_string());
            }
            Call::Failed(_) => {}
        }
        check_evidence(&look.evidence, &received);
        check_evidence(&call.evidence, &received);
    });
}

#[test]
fn a_token_answer_gives_a_token_that_fits_into_a_header_or_none() {
    let words = [
        "\"access_token\":\"",
        "\"token_type\":\"bearer\"",
        "\"expires_in\":",
        "-1",
        "1e400",
        "1e18",
        "\"60\"",
        "\\r\\n",
        "\\u0000",
        "\"error\":\"invalid_client\"",
        "rate limit exceeded",
        "200",
        "400",
        "401",
        "429",
        "=",
        "{",
        "}",
    ];
    fuzz("token_answer", &words, |input| {
        let Some(received) = received(input) else { return };
        match read(Ok(&received)) {
            Ok(granted) => {
                assert_eq!(received.status, StatusCode::OK);
                // A field that nobody asks for may hold a number that is too large for a value.
                let Some(told) = json(&received) else { return };
                let secret = granted.secret.expose_secret();
                assert_eq!(told["access_token"], secret);
                assert!(HeaderValue::from_str(&format!("Bearer {secret}")).is_ok() && !secret.is_empty());
                assert!(!secret.contains(|sign: char| !sign.is_ascii_graphic()));
                assert!(
                    (30..=86_400).contains(&granted.lifetime.as_secs()),
                    "{:?}",
                    granted.lifetime
                );
                if let Some(seconds) = told["expires_in"]
                    .as_u64()
                    .filter(|seconds| (30..=86_400).contains(seconds))
                {
                    assert_eq!(granted.lifetime.as_secs(), seconds);
                }
                let shown = format!("{granted:?}");
                assert!(secret.len() < 8 || !shown.contains(secret), "the token is shown");
            }
            Err(Refusal { failure, .. }) => {
                // A word of the endpoint's is told only if it is a code.
                let told = failure.to_string();
                assert!(
                    told.len() < 400 && told.chars().all(|sign| !sign.is_control()),
                    "{told:?}"
                );
            }
        }
    });
}
