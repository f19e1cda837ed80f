//! The webhook receiver.

use std::time::{SystemTime, UNIX_EPOCH};

use simulator::api::{FaultAction, FaultBody, FaultSpec, Operation, RetryAfter, ScriptedAnswer, WebhookEndpoint};
use simulator::{Options, Simulator};
use standardwebhooks::Webhook;

use crate::caller::{client, header};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const OTHER: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn start() -> Simulator {
    let webhooks = vec![WebhookEndpoint::new("analytics", SECRET)];
    Simulator::start(Options {
        webhooks,
        ..Options::default()
    })
    .await
    .unwrap()
}

/// Sends a webhook that was signed that many seconds ago.
async fn send(url: &str, secret: &str, id: &str, age: i64, body: &str) -> Result<reqwest::Response, reqwest::Error> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let timestamp = now - age;
    let signature = Webhook::new(secret)
        .unwrap()
        .sign(id, timestamp, body.as_bytes())
        .unwrap();
    let request = client()
        .post(url)
        .header("webhook-id", id)
        .header("webhook-timestamp", timestamp);
    request
        .header("webhook-signature", signature)
        .body(body.to_owned())
        .send()
        .await
}

#[tokio::test]
async fn a_good_signature_is_taken_and_recorded_to_the_byte() {
    let simulator = start().await;
    let url = simulator.webhook_url("analytics");
    let body = "{\"event\":  \"session.terminated\", \"guest\": \"ü\"}\n";
    for _ in 0..2 {
        assert_eq!(send(&url, SECRET, "msg_1", 0, body).await.unwrap().status(), 204);
    }
    assert_eq!(send(&url, SECRET, "msg_1", 0, "{}").await.unwrap().status(), 204);

    let recorded = &simulator.ledger().webhooks[0];
    assert_eq!(recorded.endpoint, "analytics");
    assert_eq!(recorded.id.as_deref(), Some("msg_1"));
    assert_eq!(recorded.body, body.as_bytes());
    assert!(recorded.verified && recorded.taken && recorded.headers.contains_key("webhook-signature"));
    let summary = simulator.summary();
    let message = &summary.webhooks["msg_1"];
    assert_eq!(
        (message.calls, message.taken, message.verified, message.distinct_bodies),
        (3, 3, 3, 2)
    );
    assert_eq!((summary.webhooks_verified, summary.webhooks_unverified), (3, 0));
}

#[tokio::test]
async fn a_wrong_secret_an_old_timestamp_and_no_signature_are_refused() {
    let simulator = start().await;
    let url = simulator.webhook_url("analytics");
    assert_eq!(send(&url, OTHER, "m", 0, "{}").await.unwrap().status(), 401);
    assert_eq!(send(&url, SECRET, "m", 301, "{}").await.unwrap().status(), 401);
    assert_eq!(send(&url, SECRET, "m", -310, "{}").await.unwrap().status(), 401);
    assert_eq!(client().post(&url).body("{}").send().await.unwrap().status(), 401);
    let nowhere = simulator.webhook_url("nowhere");
    assert_eq!(send(&nowhere, SECRET, "m", 0, "{}").await.unwrap().status(), 404);
    let webhooks = simulator.ledger().webhooks;
    assert!(
        webhooks
            .iter()
            .all(|webhook| !webhook.verified && !webhook.taken && webhook.refusal.is_some())
    );
    assert_eq!(simulator.summary().webhooks_unverified, 5);
}

#[tokio::test]
async fn secrets_rotate_and_an_endpoint_without_any_takes_all() {
    let simulator = start().await;
    let both = WebhookEndpoint {
        name: "analytics".into(),
        secrets: vec![OTHER.into(), SECRET.into()],
    };
    simulator.set_webhook(&both).unwrap();
    let url = simulator.webhook_url("analytics");
    assert_eq!(send(&url, SECRET, "m", 0, "{}").await.unwrap().status(), 204);
    assert_eq!(send(&url, OTHER, "m", 0, "{}").await.unwrap().status(), 204);
    simulator
        .set_webhook(&WebhookEndpoint {
            name: "open".into(),
            secrets: Vec::new(),
        })
        .unwrap();
    assert_eq!(
        client()
            .post(simulator.webhook_url("open"))
            .body("x")
            .send()
            .await
            .unwrap()
            .status(),
        204
    );
    let last = simulator.ledger().webhooks.pop().unwrap();
    assert!(last.taken && !last.verified);
    assert!(
        simulator
            .set_webhook(&WebhookEndpoint::new("bad", "whsec_***"))
            .is_err()
    );
}

#[tokio::test]
async fn faults_act_on_webhooks_too() {
    let simulator = start().await;
    let url = simulator.webhook_url("analytics");
    let fault = || FaultSpec::on(Operation::Webhook).guest("analytics").times(1);
    let busy = ScriptedAnswer::new(503, FaultBody::Empty).retry_after(RetryAfter::Seconds(3));
    simulator.add_fault(fault().answer(busy)).unwrap();
    simulator
        .add_fault(fault().action(FaultAction::Reset { after_effect: true }))
        .unwrap();
    simulator
        .add_fault(fault().answer(ScriptedAnswer::new(410, FaultBody::Empty)))
        .unwrap();

    let answer = send(&url, SECRET, "m", 0, "{}").await.unwrap();
    assert_eq!((answer.status().as_u16(), header(&answer, "retry-after")), (503, "3"));
    assert!(send(&url, SECRET, "m", 0, "{}").await.is_err());
    assert_eq!(send(&url, SECRET, "m", 0, "{}").await.unwrap().status(), 410);
    let taken: Vec<bool> = simulator
        .ledger()
        .webhooks
        .iter()
        .map(|webhook| webhook.taken)
        .collect();
    assert_eq!(taken, [false, true, false]);
}
