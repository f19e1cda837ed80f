//! What happens to a session that is active, counted at the servers.

use serde_json::json;
use simulator::api::{GuestSpec, Operation};

use crate::{
    kstatus::{Kstatus, kstatus},
    stage::{Stage, verdict},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_active_session_is_validated_terminated_audited_and_announced() {
    let stage = Stage::set("happy").await;
    stage.simulator.add_guest(GuestSpec::active("guest-1"));
    let operator = stage.operate().await;
    stage
        .terminate(
            "guest-1",
            json!({"externalRef": "ticket & more=#1 ü", "reason": "bot_handoff"}),
        )
        .await;

    let object = stage.settled("guest-1").await;
    assert_eq!(object["status"]["phase"], "Terminated");
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Response");
    assert_eq!(object["status"]["attempts"], 1);
    assert_eq!(verdict(&object, "Ready"), "True/Terminated");
    assert_eq!(verdict(&object, "Finished"), "True/Terminated");
    assert_eq!(verdict(&object, "SessionValidated"), "True/SessionActive");
    assert_eq!(verdict(&object, "RetentionApplied"), "True/SentWithTermination");
    assert_eq!(verdict(&object, "WebhookDelivered"), "True/Delivered");
    assert_eq!(verdict(&object, "Reconciling"), "absent");
    assert_eq!(kstatus(&object), Kstatus::Current);

    let ledger = stage.simulator.ledger();
    let calls: Vec<_> = ledger
        .calls
        .iter()
        .filter(|call| call.operation != Operation::Token)
        .collect();
    assert_eq!(calls.len(), 2);
    assert!(calls[1].effective);
    assert_eq!(calls[1].parameter("reason"), Some("bot_handoff"));
    assert_eq!(calls[1].parameter("retainData"), Some("true"));
    assert_eq!(calls[1].parameter("externalRef"), Some("ticket & more=#1 ü"));
    assert_eq!(ledger.webhooks.len(), 1);
    assert!(ledger.webhooks[0].verified);
    let body: serde_json::Value = serde_json::from_slice(&ledger.webhooks[0].body).unwrap();
    assert_eq!(body["event"], "session.terminated");
    assert_eq!(body["guest_id"], "guest-1");
    assert_eq!(body["retention_applied"], true);

    let kinds: Vec<_> = operator.lines().iter().map(|line| line["kind"].clone()).collect();
    assert_eq!(kinds, ["attempt_started", "attempt_result", "outcome"]);
    operator.stop().await;
}
