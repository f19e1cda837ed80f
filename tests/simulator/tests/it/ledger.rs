//! The ledger, the signal and the control API over HTTP.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::api::{
    Fault, FaultSpec, Guest, GuestSpec, Ledger, LedgerFilter, Moment, Occurrence, Operation, Outcome, Settings,
    Summary, WaitFor,
};
use simulator::{CLIENT_ID, Counted, FaultId};

use crate::caller::{Caller, client, start};

#[tokio::test]
async fn the_ledger_names_tokens_and_never_shows_them() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec::active("g"));
    let caller = Caller::of(&simulator).await;
    caller.state("g").await;
    let ledger = simulator.ledger();
    assert_eq!(ledger.calls[0].operation, Operation::Token);
    for call in &ledger.calls {
        assert_eq!(
            (call.token.as_deref(), call.client.as_deref()),
            (Some("t1"), Some(CLIENT_ID))
        );
    }
    assert!(!serde_json::to_string(&ledger).unwrap().contains(&caller.token));
    assert_eq!(ledger.calls[1].told_state.as_deref(), Some("active"));
}

#[tokio::test]
async fn the_ledger_is_filtered_and_forgets_on_demand() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec::active("g"));
    simulator.add_guest(GuestSpec::active("h"));
    let caller = Caller::of(&simulator).await;
    caller.state("g").await;
    caller.state("h").await;
    caller.terminate("g").await.unwrap();
    let filter = LedgerFilter {
        guest: Some("g".into()),
        operation: Some(Operation::Terminate),
    };
    let sequences: Vec<u64> = simulator
        .ledger_of(&filter)
        .calls
        .iter()
        .map(|call| call.sequence)
        .collect();
    assert_eq!(sequences, [4]);
    let summary = simulator.summary();
    assert_eq!(
        summary.calls,
        [
            (Operation::Token, 1),
            (Operation::Observe, 2),
            (Operation::Terminate, 1)
        ]
        .into()
    );
    assert_eq!(summary.max_calls_in_60s, 3);
    assert_eq!(summary.max_calls_in_60s_by_client[CLIENT_ID], 3);
    simulator.reset_ledger();
    assert_eq!(simulator.summary(), Summary::default());
    caller.state("h").await;
    assert_eq!(simulator.ledger().calls[0].sequence, 5);
}

#[tokio::test]
async fn calls_about_one_guest_at_the_same_time_are_counted() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec::active("g"));
    simulator.add_guest(GuestSpec::active("h"));
    let caller = Caller::of(&simulator).await;
    let slow = FaultSpec {
        delay_after_ms: 500,
        ..FaultSpec::on(Operation::Observe).guest("g")
    };
    simulator.add_fault(slow).unwrap();
    tokio::join!(caller.state("g"), caller.state("g"), caller.state("g"));
    for _ in 0..3 {
        caller.state("h").await;
    }
    assert_eq!(
        simulator.summary().max_concurrent,
        [("g".to_owned(), 3), ("h".to_owned(), 1)].into()
    );
}

#[tokio::test]
async fn a_wait_ends_at_the_moment() {
    let simulator = start().await;
    simulator.add_guest(GuestSpec::active("g"));
    let caller = Caller::of(&simulator).await;
    let slow = FaultSpec {
        delay_before_ms: 300,
        delay_after_ms: 300,
        ..FaultSpec::on(Operation::Terminate)
    };
    simulator.add_fault(slow).unwrap();
    let moment = async |moment| {
        let wait = WaitFor::new(Operation::Terminate, moment).guest("g");
        let occurrence = simulator.wait_for(&wait).await.unwrap();
        let call = simulator
            .ledger()
            .calls
            .into_iter()
            .find(|call| call.sequence == occurrence.sequence)
            .unwrap();
        (call.effective, call.outcome)
    };
    let (answer, received, effective) = tokio::join!(
        caller.terminate("g"),
        moment(Moment::Received),
        moment(Moment::Effective),
    );
    assert_eq!(answer.unwrap().status(), 204);
    assert_eq!(received, (false, Outcome::InFlight));
    assert_eq!(effective, (true, Outcome::InFlight));
    assert_eq!(
        moment(Moment::Answered).await,
        (true, Outcome::Answered),
        "what was before counts"
    );
    let late = WaitFor {
        after: 2,
        timeout_ms: 50,
        ..WaitFor::new(Operation::Terminate, Moment::Received)
    };
    assert_eq!(simulator.wait_for(&late).await, None);
}

#[tokio::test]
async fn the_control_api_does_it_all_over_http() {
    let simulator = start().await;
    let http = client();
    let url = |path: &str| format!("{}/_control/{path}", simulator.url());
    let post = async |path: &str, body: Value| http.post(url(path)).json(&body).send().await.unwrap();

    let guests = json!({
        "guests": [{"id": "g", "after": "gone", "returns": {"when": {"after_calls": 2}}}],
        "series": {"prefix": "s-", "count": 2},
    });
    let created: Counted = post("guests", guests).await.json().await.unwrap();
    assert_eq!(created.count, 3);
    let fault = json!({
        "operation": "terminate", "target": {"guest": "g"}, "count": 1,
        "action": {"kind": "answer", "answer": {
            "status": 429, "body": {"kind": "vendor"}, "retry_after": {"seconds": 2},
        }},
    });
    let fault: FaultId = post("faults", fault).await.json().await.unwrap();
    assert_eq!(post("clients", json!({"id": "c", "secret": "s"})).await.status(), 204);
    assert_eq!(
        post("webhooks", json!({"name": "w", "secrets": []})).await.status(),
        204
    );

    let caller = Caller::of(&simulator).await;
    assert_eq!(caller.terminate("g").await.unwrap().status(), 429);
    assert_eq!(caller.terminate("g").await.unwrap().status(), 204);
    http.post(simulator.webhook_url("w"))
        .body(vec![0, 255])
        .send()
        .await
        .unwrap();

    let get = async |path: &str| http.get(url(path)).send().await.unwrap();
    let ledger: Ledger = get("ledger").await.json().await.unwrap();
    assert_eq!(ledger, simulator.ledger());
    assert_eq!(ledger.webhooks[0].body, [0, 255]);
    let ended: Ledger = get("ledger?guest=g&operation=terminate").await.json().await.unwrap();
    assert_eq!((ended.calls.len(), ended.webhooks.len()), (2, 0));
    let summary: Summary = get("summary").await.json().await.unwrap();
    assert_eq!(summary, simulator.summary());
    let found: Occurrence = get("wait?operation=terminate&guest=g&moment=effective&timeout_ms=1000")
        .await
        .json()
        .await
        .unwrap();
    assert!(
        ledger
            .calls
            .iter()
            .any(|call| call.sequence == found.sequence && call.effective)
    );
    assert_eq!(
        get("wait?operation=terminate&guest=x&moment=received&timeout_ms=20")
            .await
            .status(),
        408
    );
    let faults: Vec<Fault> = get("faults").await.json().await.unwrap();
    assert_eq!((faults[0].id, faults[0].hits), (fault.id, 1));
    assert_eq!(
        http.delete(url(&format!("faults/{}", fault.id)))
            .send()
            .await
            .unwrap()
            .status(),
        204
    );
    assert_eq!(http.delete(url("faults/99")).send().await.unwrap().status(), 404);

    let back: Guest = post("guests/return", json!({"id": "g"})).await.json().await.unwrap();
    assert_eq!((back.state.as_deref(), back.incarnation), (Some("active"), 2));
    let over: Guest = post("guests/end", json!({"id": "g"})).await.json().await.unwrap();
    assert_eq!(over.state.as_deref(), Some("closed"));

    let outage = http
        .put(url("outage"))
        .json(&json!({"reads": "unavailable"}))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (outage.status().as_u16(), caller.state("g").await.as_str()),
        (204, "503")
    );
    http.put(url("outage")).json(&json!({})).send().await.unwrap();
    http.put(url("settings"))
        .json(&json!({"requests_per_minute": null}))
        .send()
        .await
        .unwrap();
    let settings: Settings = get("settings").await.json().await.unwrap();
    assert_eq!(
        settings,
        Settings {
            requests_per_minute: None,
            ..Settings::default()
        }
    );
    let revoked: Counted = post("tokens/revoke", json!({})).await.json().await.unwrap();
    assert_eq!((revoked.count, caller.state("g").await.as_str()), (1, "401"));
    http.delete(url("ledger")).send().await.unwrap();
    assert_eq!(simulator.ledger(), Ledger::default());
}

#[tokio::test]
async fn a_control_that_is_misspelt_is_refused() {
    let simulator = start().await;
    let url = |path: &str| format!("{}/_control/{path}", simulator.url());
    for fault in [
        json!({"operaton": "terminate"}),
        json!({"action": {"kind": "explode"}}),
        json!({"action": {"kind": "answer", "answer": {"status": 99}}}),
    ] {
        let answer = client().post(url("faults")).json(&fault).send().await.unwrap();
        assert!(answer.status().is_client_error(), "{fault}");
    }
    assert!(simulator.faults().is_empty());
    assert_eq!(client().get(url("nothing")).send().await.unwrap().status(), 404);
    assert!(simulator.ledger().calls.is_empty(), "controls are no calls");
}

#[tokio::test]
async fn a_simulator_that_is_dropped_listens_no_more() {
    let (first, second) = tokio::join!(start(), start());
    assert_ne!(first.url(), second.url());
    let url = first.url().to_owned();
    let caller = Caller::of(&first).await;
    drop(first);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(
        client()
            .get(format!("{url}/_control/summary"))
            .send()
            .await
            .unwrap_err()
            .is_connect()
    );
    assert!(caller.observe("g").await.is_err(), "an open connection is closed too");
    Caller::of(&second).await;
    let url = second.url().to_owned();
    second.stop().await;
    assert!(client().get(url).send().await.unwrap_err().is_connect());
}
