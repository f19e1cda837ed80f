use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::join_all;
use http::Response;
use rstest::rstest;
use serde_json::Value;

use super::*;
use crate::{
    clock::{SharedClock, SystemClock},
    genesys::Endpoints,
    transport::{Body, TransportError, testing},
};

const SECRET: &str = "c4nary-secret";

/// A token endpoint that answers by `script`, which is told the number of the request, from 1.
struct Endpoint {
    vendor: VendorClient,
    clock: SharedClock,
    requests: Arc<AtomicU32>,
    tokens: Tokens,
}

impl Endpoint {
    fn new(script: impl Fn(u32) -> (u16, String, u64) + Send + Sync + 'static) -> Self {
        let requests = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&requests);
        let clock = SystemClock::shared();
        let service = testing::service(move |_request| {
            let (status, body, delay) = script(counted.fetch_add(1, Ordering::SeqCst) + 1);
            async move {
                tokio::time::sleep(Duration::from_millis(delay)).await;
                Ok::<Response<Body>, TransportError>(testing::answer(status, &[], &body))
            }
        });
        Self {
            vendor: VendorClient::new(service, Arc::clone(&clock)),
            clock,
            requests,
            tokens: Tokens::default(),
        }
    }

    async fn token(&self) -> Result<AccessToken, TokenError> {
        self.token_of("1").await
    }

    async fn token_of(&self, version: &str) -> Result<AccessToken, TokenError> {
        self.tokens.token(&self.vendor, &target(), &credentials(version)).await
    }

    fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }
}

fn target() -> Target {
    let url: url::Url = "https://gateway.example/genesys".parse().unwrap();
    Target {
        endpoints: Endpoints {
            api: url.clone(),
            login: url,
            host: "gateway.example".to_owned(),
        },
        ca_bundle: None,
        not_found_codes: vec![],
    }
}

fn credentials(version: &str) -> Credentials {
    Credentials::parse(b"client", SECRET.as_bytes(), version.to_owned()).unwrap()
}

fn granted(number: u32, lifetime: u64) -> (u16, String, u64) {
    let body = format!(r#"{{"access_token":"token-{number}","token_type":"bearer","expires_in":{lifetime}}}"#);
    (200, body, 50)
}

fn refused() -> (u16, String, u64) {
    (400, r#"{"error":"invalid_client"}"#.to_owned(), 50)
}

async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn the_request_is_the_contracts() {
    let service = testing::service(|request| async move {
        assert_eq!(
            (request.method(), request.uri().to_string().as_str()),
            (&Method::POST, "https://gateway.example/genesys/oauth/token")
        );
        assert_eq!(request.headers()[header::CONTENT_TYPE], "application/json");
        assert!(request.headers().get(header::AUTHORIZATION).is_none());
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        assert_eq!(
            body,
            json!({
                "grant_type": "client_credentials",
                "client_id": "client",
                "client_secret": SECRET,
                "scope": "webchat:guest:manage webchat:guest:read conversation:messaging:read",
            })
        );
        Ok(testing::answer(
            200,
            &[],
            r#"{"access_token":"t","token_type":"bearer","expires_in":3600}"#,
        ))
    });
    let vendor = VendorClient::new(service, SystemClock::shared());
    let token = Tokens::default()
        .token(&vendor, &target(), &credentials("1"))
        .await
        .unwrap();
    assert_eq!(token.secret().expose_secret(), "t");
    let left = token.expires_at().duration_since(Timestamp::now()).as_secs();
    assert!((3590..=3600).contains(&left), "{left}");
}

#[tokio::test(start_paused = true)]
async fn any_number_of_waiters_share_one_request() {
    let endpoint = Endpoint::new(|number| granted(number, 3600));
    let tokens = join_all((0..64).map(|_| endpoint.token())).await;
    assert_eq!(endpoint.requests(), 1);
    assert!(tokens.into_iter().all(|token| token.unwrap().id() == 1));
    endpoint.token().await.unwrap();
    assert_eq!(endpoint.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_is_dropped_takes_no_other_along() {
    let endpoint = Endpoint::new(|number| granted(number, 3600));
    let first = tokio::time::timeout(Duration::from_millis(10), endpoint.token());
    let (first, second) = tokio::join!(first, endpoint.token());
    assert!(first.is_err());
    assert_eq!((second.unwrap().id(), endpoint.requests()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_all_its_waiters_left_is_made_anew() {
    let endpoint = Endpoint::new(|number| granted(number, 3600));
    assert!(
        tokio::time::timeout(Duration::from_millis(10), endpoint.token())
            .await
            .is_err()
    );
    pass(11.0).await;
    assert_eq!(endpoint.token().await.unwrap().id(), 2);
}

#[rstest]
#[case(3600, 3539.0, 3541.0)]
#[case(100, 89.0, 91.0)]
#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_ahead_of_its_expiry(#[case] lifetime: u64, #[case] before: f64, #[case] after: f64) {
    let endpoint = Endpoint::new(move |number| granted(number, lifetime));
    endpoint.token().await.unwrap();
    pass(before).await;
    assert_eq!(endpoint.token().await.unwrap().id(), 1);
    pass(after - before).await;
    assert_eq!(endpoint.token().await.unwrap().id(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_old_token_is_used_until_it_expires_while_no_new_one_can_be_had() {
    let endpoint = Endpoint::new(|number| {
        if number == 1 {
            granted(1, 600)
        } else {
            (503, String::new(), 50)
        }
    });
    endpoint.token().await.unwrap();
    pass(545.0).await;
    let asked_before = endpoint.requests();
    for _ in 0..50 {
        assert_eq!(endpoint.token().await.unwrap().id(), 1);
        pass(1.0).await;
    }
    let asked = endpoint.requests() - asked_before;
    assert!((3..=6).contains(&asked), "asked {asked} times in 50 s");
    pass(10.0).await;
    let error = endpoint.token().await.unwrap_err();
    assert_eq!(error.failure, TokenFailure::Unavailable(Unavailable::Status(503)));
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_shown_to_the_endpoint_ever_more_seldom() {
    let endpoint = Endpoint::new(|_| refused());
    let begun = endpoint.clock.monotonic();
    let mut asked_at = vec![];
    while endpoint.clock.monotonic() - begun < Duration::from_secs(1500) {
        let before = endpoint.requests();
        let error = endpoint.token().await.unwrap_err();
        assert!(matches!(error.failure, TokenFailure::Invalid { .. }));
        assert!(error.retry_at > endpoint.clock.monotonic());
        if endpoint.requests() > before {
            asked_at.push((endpoint.clock.monotonic() - begun).as_secs());
        }
        pass(1.0).await;
    }
    let gaps: Vec<u64> = asked_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps.len(), 7, "{gaps:?}");
    for (gap, expected) in gaps.iter().zip([30, 60, 120, 240, 300, 300, 300]) {
        assert!((expected..=expected + 2).contains(gap), "{gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn changed_credentials_are_tried_at_once_and_forget_the_old_ones() {
    let endpoint = Endpoint::new(|number| if number == 1 { refused() } else { granted(number, 3600) });
    endpoint.token_of("1").await.unwrap_err();
    endpoint.token_of("1").await.unwrap_err();
    assert_eq!(endpoint.requests(), 1);
    assert_eq!(endpoint.token_of("2").await.unwrap().id(), 2);
    // Back to the old ones: another change, another token.
    assert_eq!(endpoint.token_of("1").await.unwrap().id(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_request_by_old_credentials_does_not_become_the_token_of_the_new_ones() {
    let endpoint = Endpoint::new(|number| {
        let (status, body, _) = granted(number, 3600);
        (status, body, if number == 1 { 500 } else { 50 })
    });
    let old = endpoint.token_of("1");
    let new = async {
        pass(0.1).await;
        endpoint.token_of("2").await
    };
    let (old, new) = tokio::join!(old, new);
    // Whoever asked with the old ones still gets what they are worth.
    assert_eq!((old.unwrap().id(), new.unwrap().id()), (1, 2));
    assert_eq!(endpoint.token_of("2").await.unwrap().id(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_401_makes_one_new_token_however_many_calls_it_met() {
    let endpoint = Endpoint::new(|number| granted(number, 3600));
    let old = endpoint.token().await.unwrap();
    let repeats = (0..64).map(|_| async {
        endpoint.tokens.refused(&old);
        endpoint.token().await
    });
    assert!(
        join_all(repeats)
            .await
            .into_iter()
            .all(|token| token.unwrap().id() == 2)
    );
    // A late 401 of the old token does not cost the new one.
    endpoint.tokens.refused(&old);
    assert_eq!(endpoint.token().await.unwrap().id(), 2);
    assert_eq!(endpoint.requests(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_endpoints_own_pause_is_kept() {
    let requests = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&requests);
    let service = testing::service(move |_request| {
        counted.fetch_add(1, Ordering::SeqCst);
        async { Ok(testing::answer(429, &[("retry-after", "100")], "")) }
    });
    let vendor = VendorClient::new(service, SystemClock::shared());
    let tokens = Tokens::default();
    let now = vendor.clock().monotonic();
    let error = tokens.token(&vendor, &target(), &credentials("1")).await.unwrap_err();
    assert_eq!(error.failure, TokenFailure::Throttled { http_status: 429 });
    assert_eq!((error.retry_at - now).as_secs(), 100);
    pass(99.0).await;
    tokens.token(&vendor, &target(), &credentials("1")).await.unwrap_err();
    assert_eq!(requests.load(Ordering::SeqCst), 1);
    pass(2.0).await;
    tokens.token(&vendor, &target(), &credentials("1")).await.unwrap_err();
    assert_eq!(requests.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_slow_endpoint_costs_a_calls_time_and_no_more() {
    let endpoint = Endpoint::new(|_| (200, String::new(), 3_600_000));
    let begun = endpoint.clock.monotonic();
    let error = endpoint.token().await.unwrap_err();
    assert_eq!(error.failure, TokenFailure::Unavailable(Unavailable::Unanswered));
    assert_eq!((endpoint.clock.monotonic() - begun).as_secs(), 10);
}

#[rstest]
#[case(b"", b"s")]
#[case(b"id", b"")]
#[case(b"id", b"secret\n")]
#[case(b"id ", b"secret")]
#[case(b"id", b"sec ret")]
#[case(b"id", b"\xff\xfe")]
#[case(b"id", &[b'a'; 4097])]
fn values_that_cannot_be_credentials_are_refused_without_being_repeated(#[case] id: &[u8], #[case] secret: &[u8]) {
    let error = Credentials::parse(id, secret, String::new()).unwrap_err().to_string();
    assert!(!error.contains("sec ret") && !error.contains("aaaa"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn nothing_shows_a_secret_or_a_token() {
    let endpoint = Endpoint::new(|number| granted(number, 3600));
    let token = endpoint.token().await.unwrap();
    let renewed = (endpoint.tokens.refused(&token), endpoint.token().await.unwrap()).1;
    let failing = Endpoint::new(|_| {
        (
            400,
            format!(r#"{{"error":"invalid_client","description":"{SECRET}"}}"#),
            1,
        )
    });
    let error = failing.token().await.unwrap_err();
    let shown = format!(
        "{token:?} {renewed:?} {:?} {:?} {:?} {error:?} {error} {:?}",
        endpoint.tokens,
        failing.tokens,
        credentials("1"),
        endpoint.vendor
    );
    assert!(!shown.contains(SECRET) && !shown.contains("token-"), "{shown}");
}
