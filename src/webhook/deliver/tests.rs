use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use http::HeaderMap;
use rstest::rstest;
use standardwebhooks::Webhook;

use super::*;
use crate::{
    clock::SystemClock,
    transport::{TransportError, testing},
    webhook::sign::SigningKey,
};

const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_KEY: &str = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn delivery(url: &str) -> Delivery {
    let key = |text: &str| SigningKey::parse(text.as_bytes()).unwrap();
    Delivery {
        url: url.to_owned(),
        body: Bytes::from_static(br#"{"event":"session.terminated"}"#),
        format: WebhookFormat::Flat,
        id: "msg_1".to_owned(),
        keys: SigningKeys {
            current: key(KEY),
            previous: Some(key(OLD_KEY)),
        },
        timeout: Duration::from_secs(15),
    }
}

async fn attempt(service: &HttpService, url: &str) -> Attempted {
    let clock = SystemClock::shared();
    deliver(service, clock.as_ref(), &GuardPolicy::default(), &delivery(url)).await
}

#[tokio::test]
async fn every_try_has_one_id_and_body_and_verifies_by_either_key() {
    let seen: Arc<Mutex<Vec<(HeaderMap, Bytes)>>> = Arc::default();
    let log = Arc::clone(&seen);
    let service = testing::service(move |request| {
        let policy = request.extensions().get::<RequestPolicy>().unwrap();
        assert!(policy.addresses.is_some(), "an unguarded webhook");
        let (head, body) = request.into_parts();
        assert_eq!(
            (head.method, head.uri.to_string().as_str()),
            (Method::POST, "https://hooks.example/a?b=c")
        );
        log.lock().unwrap().push((head.headers, body));
        async { Ok(testing::answer(200, &[], "")) }
    });
    for _ in 0..2 {
        let attempted = attempt(&service, "https://hooks.example/a?b=c").await;
        assert_eq!(attempted, Attempted::Delivered { status: 200 });
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        (&seen[0].0["webhook-id"], &seen[0].1),
        (&seen[1].0["webhook-id"], &seen[1].1)
    );
    for (headers, body) in seen.iter() {
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");
        for key in [KEY, OLD_KEY] {
            Webhook::new(key).unwrap().verify(body, headers).unwrap();
        }
    }
}

fn retry(status: Option<u16>, seconds: Option<u64>, reason: &str) -> Attempted {
    Attempted::Retry {
        status,
        retry_after: seconds.map(Duration::from_secs),
        reason: reason.to_owned(),
    }
}

#[rstest]
#[case(200, None, Attempted::Delivered { status: 200 })]
#[case(202, None, Attempted::Delivered { status: 202 })]
#[case(204, None, Attempted::Delivered { status: 204 })]
#[case(410, None, Attempted::Gone)]
#[case(400, None, retry(Some(400), None, "the endpoint answered HTTP 400"))]
#[case(404, None, retry(Some(404), None, "the endpoint answered HTTP 404"))]
#[case(429, Some("120"), retry(Some(429), Some(120), "the endpoint answered HTTP 429"))]
#[case(503, Some("soon"), retry(Some(503), None, "the endpoint answered HTTP 503"))]
#[case(
    302,
    None,
    retry(
        Some(302),
        None,
        "the endpoint answered with a redirect (302), which is not followed"
    )
)]
#[tokio::test]
async fn an_answer_decides_the_try(
    #[case] status: u16,
    #[case] pause: Option<&'static str>,
    #[case] expected: Attempted,
) {
    let service = testing::service(move |_| async move {
        let headers: Vec<(&str, &str)> = pause.iter().map(|pause| ("retry-after", *pause)).collect();
        Ok(testing::answer(status, &headers, "hostile body"))
    });
    assert_eq!(attempt(&service, "https://hooks.example/").await, expected);
}

#[rstest]
#[case(
    TransportError::Connect,
    retry(None, None, "no connection to the endpoint could be made")
)]
#[case(
    TransportError::Tls,
    retry(
        None,
        None,
        "the TLS handshake with the endpoint failed, or its certificate is not trusted"
    )
)]
#[case(
    TransportError::Interrupted,
    retry(None, None, "the connection to the endpoint broke before its answer came")
)]
#[case(TransportError::Blocked, Attempted::Refused(Refusal::Address))]
#[tokio::test]
async fn no_answer_has_its_reason(#[case] error: TransportError, #[case] expected: Attempted) {
    let service = testing::service(move |_| async move { Err(error) });
    assert_eq!(attempt(&service, "https://hooks.example/").await, expected);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_has_its_own_time() {
    let service = testing::service(|_| std::future::pending());
    let clock = SystemClock::shared();
    let begun = clock.monotonic();
    let mut delivery = delivery("https://hooks.example/");
    delivery.timeout = Duration::from_secs(4);
    let attempted = deliver(&service, clock.as_ref(), &GuardPolicy::default(), &delivery).await;
    assert_eq!(attempted, retry(None, None, "the endpoint did not answer in time"));
    assert_eq!(clock.monotonic() - begun, Duration::from_secs(4));
}

#[rstest]
#[case("https://169.254.169.254/", Refusal::Address)]
#[case("https://0x7f.1/", Refusal::Address)]
#[case("http://hooks.example/", Refusal::Http)]
#[case("gopher://hooks.example/", Refusal::NotAUrl)]
#[tokio::test]
async fn what_the_guard_refuses_never_leaves(#[case] url: &str, #[case] refusal: Refusal) {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let service = testing::service(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok(testing::answer(200, &[], "")) }
    });
    assert_eq!(attempt(&service, url).await, Attempted::Refused(refusal));
    assert_eq!(requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_receiver_over_sockets_verifies_it_where_the_guard_allows_its_network() {
    let options = simulator::Options {
        webhooks: vec![simulator::api::WebhookEndpoint::new("analytics", OLD_KEY)],
        ..Default::default()
    };
    let simulator = simulator::Simulator::start(options).await.unwrap();
    let (service, clock) = (transport::reqwest::service(), SystemClock::shared());
    let delivery = delivery(&simulator.webhook_url("analytics"));
    let closed = GuardPolicy::new(vec![], true);
    let attempted = deliver(&service, clock.as_ref(), &closed, &delivery).await;
    assert_eq!(attempted, Attempted::Refused(Refusal::Address));
    let open = GuardPolicy::new(vec!["127.0.0.0/8".parse().unwrap()], true);
    let attempted = deliver(&service, clock.as_ref(), &open, &delivery).await;
    assert!(matches!(attempted, Attempted::Delivered { .. }), "{attempted:?}");
    let webhooks = simulator.ledger().webhooks;
    assert_eq!(webhooks.len(), 1);
    assert!(webhooks[0].verified, "{:?}", webhooks[0].refusal);
    assert_eq!(
        (webhooks[0].id.as_deref(), &webhooks[0].body[..]),
        (Some("msg_1"), &delivery.body[..])
    );
}
