//! The models, held against what the operator understands of their answers.

use std::time::Duration;

use bytes::Bytes;
use guest_termination_operator::{
    genesys::classify,
    termination::{
        answer::{Answer, Call as Verdict, Failure, Look, Proof},
        request::GuestId,
    },
    transport::{BodyEnd, Received},
    webhook::sign::{SigningKey, SigningKeys},
};
use http::{Request, Response};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::*;

const HOST: &str = "vendor.example";
const GUEST: &str = "guest-1";

fn start() -> Timestamp {
    "2026-11-24T08:00:00Z".parse().unwrap()
}

fn arrival(seconds: f64, ordinal: Ordinal) -> Arrival {
    let at = Duration::from_secs_f64(seconds);
    Arrival {
        at,
        now: start().checked_add(at).unwrap(),
        ordinal,
    }
}

fn received(answer: Response<Bytes>) -> Received {
    let (head, body) = answer.into_parts();
    Received {
        status: head.status,
        headers: head.headers,
        body,
        body_end: BodyEnd::Complete,
        received_at: start(),
        duration: Duration::ZERO,
    }
}

fn request(method: &str, path: &str, token: &str, body: String) -> Request<Bytes> {
    Request::builder()
        .method(method)
        .uri(format!("https://{HOST}{path}"))
        .header("authorization", format!("Bearer {token}"))
        .body(Bytes::from(body))
        .unwrap()
}

/// A vendor that one client asks.
struct Bench {
    vendor: Vendor,
    token: String,
    asked: Ordinal,
}

impl Bench {
    fn new(guest: Guest) -> Self {
        let mut vendor = Vendor::new(HOST);
        vendor.set_client("client", "secret");
        vendor.add_guest(Duration::ZERO, GUEST, guest);
        let mut bench = Self {
            vendor,
            token: String::new(),
            asked: 0,
        };
        bench.renew();
        bench.vendor.drain().for_each(drop);
        bench
    }

    fn ask_token(&mut self, secret: &str) -> Response<Bytes> {
        self.asked += 1;
        let scope = "webchat:guest:manage webchat:guest:read conversation:messaging:read";
        let body = json!({
            "grant_type": "client_credentials", "client_id": "client", "client_secret": secret, "scope": scope,
        });
        let request = request("POST", "/oauth/token", "", body.to_string());
        self.vendor.handle(arrival(0.0, self.asked), &request)
    }

    fn renew(&mut self) {
        let answer = self.ask_token("secret");
        let body: Value = serde_json::from_slice(answer.body()).unwrap();
        self.token = body["access_token"].as_str().unwrap().to_owned();
    }

    fn ask(&mut self, seconds: f64, method: &str, path: &str) -> (Received, Call) {
        self.asked += 1;
        let request = request(method, path, &self.token, String::new());
        let answer = self.vendor.handle(arrival(seconds, self.asked), &request);
        let call = self.vendor.drain().find_map(|entry| match entry {
            Entry::Call(_, call) => Some(call),
            _ => None,
        });
        (received(answer), call.unwrap())
    }

    fn look(&mut self, seconds: f64) -> (Answer<Look>, Call) {
        let (received, call) = self.ask(seconds, "GET", "/api/v2/webmessaging/guests/guest-1");
        (classify::look(&received, &GuestId::parse(GUEST).unwrap(), &[]), call)
    }

    fn end(&mut self, seconds: f64) -> (Answer<Verdict>, Call) {
        let path = "/api/v2/webmessaging/guests/guest-1?reason=timeout&retainData=true";
        let (received, call) = self.ask(seconds, "DELETE", path);
        (classify::call(&received, &GuestId::parse(GUEST).unwrap(), &[]), call)
    }
}

/// What the operator understands of a look is what was meant.
fn agrees_on_a_look(look: &Look, told: Told) -> bool {
    match told {
        Told::Active => matches!(look, Look::Active(_)),
        Told::Over => matches!(
            look,
            Look::Ended(_) | Look::Failed(Failure::NotFound { conclusive: true })
        ),
        Told::NotFound => *look == Look::Failed(Failure::NotFound { conclusive: false }),
        Told::Unclear => matches!(look, Look::Unclear(_)),
        Told::Refused => *look == Look::Failed(Failure::Refused),
        Told::Unauthorized => *look == Look::Failed(Failure::Unauthorized),
        Told::Forbidden => *look == Look::Failed(Failure::Forbidden),
        Told::Throttled => *look == Look::Failed(Failure::Throttled),
        Told::Nothing => matches!(look, Look::Failed(Failure::Suspicious(_) | Failure::Transient)),
        Told::Applied | Told::Accepted => false,
    }
}

fn agrees_on_a_call(answer: &Answer<Verdict>, told: Told) -> bool {
    let not_applied = answer.proves() == Proof::NotApplied;
    match told {
        Told::Applied => answer.verdict == Verdict::Applied,
        Told::Accepted => answer.verdict == Verdict::Accepted,
        Told::Over => answer.verdict == Verdict::Failed(Failure::NotFound { conclusive: true }),
        Told::NotFound => answer.verdict == Verdict::Failed(Failure::NotFound { conclusive: false }),
        Told::Refused => answer.verdict == Verdict::Failed(Failure::Refused) && not_applied,
        Told::Unauthorized => answer.verdict == Verdict::Failed(Failure::Unauthorized) && not_applied,
        Told::Forbidden => answer.verdict == Verdict::Failed(Failure::Forbidden) && not_applied,
        Told::Throttled => answer.verdict == Verdict::Failed(Failure::Throttled) && not_applied,
        Told::Nothing => answer.proves() == Proof::Unknown,
        Told::Active | Told::Unclear => false,
    }
}

fn modes() -> Vec<Mode> {
    let mut modes = vec![
        Mode::Works,
        Mode::Status(500),
        Mode::Unavailable(Some(RetryAfter::Seconds(7))),
        Mode::Throttles(Some(RetryAfter::Date(9))),
        Mode::Unauthorized,
        Mode::Forbidden,
        Mode::OtherGuest,
        Mode::Page,
        Mode::Garbage,
    ];
    let routes = [
        NoRoute::Vendors,
        NoRoute::Empty,
        NoRoute::Page,
        NoRoute::Status,
        NoRoute::Json,
    ];
    modes.extend(routes.map(Mode::NoRoute));
    modes
}

#[test]
fn the_operator_understands_every_answer_as_it_is_meant() {
    let endings = [
        Ending::AtOnce,
        Ending::AtOnceWithBody,
        Ending::Lagging(Duration::from_secs(5)),
        Ending::Accepted(Duration::from_secs(5)),
        Ending::AcceptedNever,
    ];
    let ends = [
        EndedAs::State("expired"),
        EndedAs::NotFound,
        EndedAs::NoConversation,
        EndedAs::Gone,
        EndedAs::Empty,
    ];
    let troubles = [
        None,
        Some(Trouble::Forbidden),
        Some(Trouble::Refused),
        Some(Trouble::OddState("idle")),
    ];
    for (mode, ending, ended_as, trouble) in modes().into_iter().flat_map(|mode| {
        let all = endings
            .iter()
            .flat_map(|ending| ends.iter().map(move |ended| (ending, ended)));
        all.flat_map(|(ending, ended)| troubles.iter().map(move |trouble| (ending, ended, trouble)))
            .map(|(ending, ended, trouble)| (mode.clone(), *ending, *ended, *trouble))
            .collect::<Vec<_>>()
    }) {
        let guest = Guest {
            ending,
            ended_as,
            trouble,
        };
        let mut bench = Bench::new(guest);
        bench.vendor.observe = mode.clone();
        bench.vendor.terminate = mode.clone();
        let case = format!("{mode:?} {ending:?} {ended_as:?} {trouble:?}");
        for round in 0..2 {
            let (look, call) = bench.look(f64::from(round) * 10.0);
            assert!(agrees_on_a_look(&look.verdict, call.told), "{case}: {look:?} {call:?}");
            assert_eq!(look.evidence.retry_after, call.retry_after, "{case}");
            let (end, call) = bench.end(f64::from(round) * 10.0);
            assert!(agrees_on_a_call(&end, call.told), "{case}: {end:?} {call:?}");
            assert_eq!(end.evidence.allowed, call.allowed, "{case}");
        }
    }
}

#[test]
fn what_stands_in_between_proves_nothing() {
    use Canned as Kind;
    let kinds = [
        Kind::RequestTimeout,
        Kind::Conflict,
        Kind::TooEarly,
        Kind::InternalError,
        Kind::BadGateway,
        Kind::Unavailable,
        Kind::GatewayTimeout,
        Kind::NoRouteEmpty,
        Kind::NoRoutePage,
        Kind::NoRouteStatus,
        Kind::NoRouteJson,
        Kind::GatewayUnauthorized,
        Kind::GatewayForbidden,
        Kind::GatewayThrottled(3),
        Kind::GatewayRefused,
        Kind::ProxyAuthentication,
        Kind::Redirect,
        Kind::Page,
        Kind::BrokenJson,
        Kind::ErrorWithSuccess,
        Kind::OtherSuccess,
    ];
    let guest = GuestId::parse(GUEST).unwrap();
    for kind in kinds {
        let end = classify::call(&received(canned(kind, start())), &guest, &[]);
        assert_eq!(end.proves(), Proof::Unknown, "{kind:?}");
        let look = classify::look(&received(canned(kind, start())), &guest, &[]);
        let told = matches!(look.verdict, Look::Failed(failure) if !matches!(failure, Failure::NotFound { .. } | Failure::Refused));
        assert!(told, "{kind:?}: {look:?}");
    }
    assert!(canned(Kind::TooLong, start()).body().len() > 64 * 1024);
}

#[test]
fn a_guest_that_returns_lives_again() {
    let mut bench = Bench::new(Guest::default());
    assert_eq!(bench.end(1.0).1.life, Some(1));
    bench.vendor.come_back(Duration::from_secs(2), GUEST);
    bench.vendor.come_back(Duration::from_secs(3), GUEST);
    let lives: Vec<Entry> = bench.vendor.drain().collect();
    assert!(matches!(
        lives.as_slice(),
        [Entry::Life(Life {
            life: 2,
            change: Change::Begins,
            ..
        })]
    ));
    let (_, call) = bench.end(4.0);
    assert_eq!((call.life, call.active, call.effect), (Some(2), true, Effect::Ended));
    let (_, call) = bench.end(5.0);
    assert_eq!((call.life, call.active, call.effect), (Some(2), false, Effect::None));
}

#[test]
fn an_effect_that_lags_is_the_calls() {
    let mut bench = Bench::new(Guest {
        ending: Ending::Accepted(Duration::from_secs(30)),
        ..Guest::default()
    });
    let (_, call) = bench.end(1.0);
    let number = bench.asked;
    assert_eq!(
        (call.told, call.effect),
        (Told::Accepted, Effect::Later(Duration::from_secs(31)))
    );
    assert_eq!(bench.look(30.0).1.told, Told::Active);
    bench.vendor.pass(Duration::from_secs(40));
    let lives: Vec<Entry> = bench.vendor.drain().collect();
    let expected = Life {
        at: Duration::from_secs(31),
        host: HOST.to_owned(),
        guest: GUEST.to_owned(),
        life: 1,
        change: Change::Ends(Some(number)),
    };
    assert!(
        matches!(lives.as_slice(), [Entry::Life(life)] if *life == expected),
        "{lives:?}"
    );
    assert_eq!(bench.look(41.0).1.told, Told::Over);
}

#[test]
fn tokens_die_of_age_of_revocation_and_with_their_secret() {
    let mut bench = Bench::new(Guest::default());
    bench.vendor.set_token_lifetime(Duration::from_secs(100), None);
    bench.renew();
    assert_eq!(bench.look(99.0).1.told, Told::Active);
    let (_, dead) = bench.look(100.0);
    assert_eq!(
        (dead.told, dead.client.as_deref()),
        (Told::Unauthorized, Some("client"))
    );
    bench
        .vendor
        .set_token_lifetime(Duration::from_secs(1000), Some(json!("soon")));
    bench.renew();
    bench.vendor.set_client("client", "secret");
    assert_eq!(bench.look(1.0).1.told, Told::Active);
    bench.vendor.set_client("client", "changed");
    assert_eq!(bench.look(1.0).1.told, Told::Unauthorized);
    assert_eq!(bench.ask_token("secret").status(), 401);
    assert_eq!(bench.ask_token("changed").status(), 200);
    bench.vendor.set_token_mode(TokenMode::Throttles(None));
    assert_eq!(bench.ask_token("changed").status(), 400);
    bench.token = "another".to_owned();
    assert_eq!(bench.look(1.0).1.client, None);
}

#[test]
fn a_token_makes_so_many_calls_in_a_minute() {
    let mut bench = Bench::new(Guest::default());
    bench.vendor.limit = Some(3);
    for second in 0..3 {
        assert_eq!(bench.look(f64::from(second)).1.told, Told::Active);
    }
    let (answer, call) = bench.look(10.5);
    assert_eq!((call.told, call.allowed), (Told::Throttled, Some(3)));
    assert_eq!(answer.evidence.retry_after, Some(Duration::from_secs(50)));
    assert_eq!(bench.look(60.0).1.told, Told::Active);
}

#[test]
fn a_route_that_was_there_does_not_go_in_the_vendors_words() {
    let mut bench = Bench::new(Guest::default());
    bench.vendor.observe = Mode::NoRoute(NoRoute::Vendors);
    assert_eq!(bench.look(1.0).1.told, Told::NotFound);
    bench.vendor.observe = Mode::Works;
    bench.look(2.0);
    bench.vendor.observe = Mode::NoRoute(NoRoute::Vendors);
    assert_eq!(bench.look(3.0).1.told, Told::Nothing);
}

#[test]
fn a_termination_without_its_parameters_is_refused() {
    let mut bench = Bench::new(Guest::default());
    for query in [
        "",
        "?reason=timeout",
        "?reason=whim&retainData=true",
        "?reason=timeout&retainData=1",
    ] {
        let (_, call) = bench.ask(1.0, "DELETE", &format!("/api/v2/webmessaging/guests/guest-1{query}"));
        assert_eq!((call.told, call.effect), (Told::Refused, Effect::None), "{query}");
    }
    assert!(bench.vendor.is_active(GUEST));
}

fn key(byte: u8) -> String {
    use base64::Engine as _;
    format!("whsec_{}", base64::engine::general_purpose::STANDARD.encode([byte; 24]))
}

fn deliver(receiver: &mut Receiver, signer: &str, skew: i64) -> (u16, Delivery) {
    let keys = SigningKeys {
        current: SigningKey::parse(signer.as_bytes()).unwrap(),
        previous: None,
    };
    let (arrival, body) = (arrival(1.0, 1), r#"{"event":"session.terminated"}"#);
    let timestamp = arrival.now.as_second() + skew;
    let request = Request::post("https://hooks.example/one")
        .header("webhook-id", "msg_1")
        .header("webhook-timestamp", timestamp)
        .header("webhook-signature", keys.signature("msg_1", timestamp, body.as_bytes()))
        .body(Bytes::from(body))
        .unwrap();
    let answer = receiver.handle(arrival, &request);
    let Some(Entry::Delivery(1, delivery)) = receiver.drain().next() else {
        panic!("nothing was noted");
    };
    (answer.status().as_u16(), delivery)
}

#[test]
fn an_endpoint_believes_its_own_keys_and_nobody_elses() {
    let mut receiver = Receiver::default();
    receiver.set_keys("hooks.example/one", &[&key(1), &key(2)]);
    let (status, delivery) = deliver(&mut receiver, &key(2), 0);
    assert_eq!((status, delivery.signed, delivery.id.as_str()), (204, true, "msg_1"));
    assert_eq!(delivery.endpoint, "hooks.example/one");
    assert_eq!(deliver(&mut receiver, &key(3), 0).0, 401);
    let (status, late) = deliver(&mut receiver, &key(1), 301);
    assert_eq!((status, late.signed), (401, true));
    assert_eq!(deliver(&mut receiver, &key(1), -300).0, 204);
    receiver.set_mode("hooks.example/one", EndpointMode::Pauses(503, RetryAfter::Seconds(20)));
    assert_eq!(deliver(&mut receiver, &key(1), 0).0, 503);
}
