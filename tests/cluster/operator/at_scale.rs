//! Many objects at once, counted at the servers: calls at the vendor, writes at the API server.

use std::{collections::BTreeMap, time::Duration};

use control_plane::run;
use guest_termination_operator::{api::GuestTermination, controller::settings::Pacing};
use kube::api::ListParams;
use serde_json::{Value, json};
use simulator::api::{GuestBatch, GuestSeries, Operation};

use crate::stage::{Stage, verdict};

/// The longest timer that fires though nothing changes.
const PERIOD: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn two_calls_and_four_writes_an_object_and_then_silence() {
    const OBJECTS: usize = 200;
    let stage = Stage::set("counted").await;
    guests(&stage, "guest-", OBJECTS);
    let mut settings = stage.settings();
    settings.pacing = Pacing {
        watch_timeout_seconds: u32::try_from(PERIOD.as_secs()).unwrap(),
        connection_status: PERIOD,
        secrets: PERIOD,
        ..settings.pacing
    };
    let operator = stage.operate_with(settings).await;
    let position = stage.cluster.audit_position();
    apply(&stage, "guest-", OBJECTS).await;
    all_settled(&stage, OBJECTS).await;
    tokio::time::sleep(PERIOD).await;

    let ledger = stage.simulator.ledger();
    let mut calls: BTreeMap<&str, Vec<Operation>> = BTreeMap::new();
    for call in ledger.calls.iter().filter(|call| call.operation != Operation::Token) {
        calls
            .entry(call.guest.as_deref().unwrap())
            .or_default()
            .push(call.operation);
    }
    assert_eq!(calls.len(), OBJECTS);
    for (guest, operations) in calls {
        assert_eq!(operations, [Operation::Observe, Operation::Terminate], "{guest}");
    }
    let writes = stage.writes_since(position);
    let mut of_object: BTreeMap<String, usize> = BTreeMap::new();
    let mut of_connection = 0;
    let mut events = 0;
    for write in &writes {
        match write.resource.as_str() {
            "guestterminations" => *of_object.entry(write.name.clone()).or_default() += 1,
            "events" => events += 1,
            "genesysconnections" => of_connection += 1,
            other => panic!("a write on {other}"),
        }
    }
    assert_eq!(of_object.len(), OBJECTS);
    for (name, count) in of_object {
        assert!(count <= 3, "{name} was written {count} times");
    }
    assert_eq!(events, OBJECTS, "one Event an object");
    assert!(of_connection <= 3, "the connection was written {of_connection} times");

    // Then nothing, for ten times the longest periodic timer.
    let (position, seen) = (stage.cluster.audit_position(), stage.simulator.ledger().calls.len());
    tokio::time::sleep(PERIOD * 10).await;
    assert_eq!(stage.writes_since(position), []);
    assert_eq!(stage.simulator.ledger().calls.len(), seen);
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_objects_of_one_file_all_finish_once() {
    const OBJECTS: usize = 1000;
    let stage = Stage::set("thousand").await;
    guests(&stage, "guest-", OBJECTS);
    let operator = stage.operate().await;
    apply(&stage, "guest-", OBJECTS).await;
    all_settled(&stage, OBJECTS).await;

    let summary = stage.simulator.summary();
    assert_eq!(summary.effective.len(), OBJECTS);
    assert_eq!(summary.effective_total as usize, OBJECTS);
    assert_eq!(summary.max_effective_per_incarnation, 1);
    assert_eq!(summary.webhooks.len(), OBJECTS);
    assert_eq!(summary.webhooks_unverified, 0);
    for (id, webhook) in &summary.webhooks {
        assert!(
            webhook.verified >= 1 && webhook.distinct_bodies == 1,
            "{id}: {webhook:?}"
        );
    }
    for object in stage.terminations().list(&ListParams::default()).await.unwrap() {
        let object = serde_json::to_value(&object).unwrap();
        assert_eq!(verdict(&object, "Ready"), "True/Terminated", "{object:#}");
    }
    let events = stage.event_objects().await;
    let warnings: Vec<_> = events.iter().filter(|event| event["type"] == "Warning").collect();
    assert!(warnings.is_empty(), "{warnings:#?}");
    assert_eq!(events.len(), OBJECTS);
    operator.stop().await;
}

/// Active guests at the simulator.
pub(super) fn guests(stage: &Stage<'_>, prefix: &str, count: usize) {
    let series = GuestSeries {
        prefix: prefix.to_owned(),
        count: u32::try_from(count).unwrap(),
    };
    let batch = GuestBatch {
        series: Some(series),
        ..GuestBatch::default()
    };
    assert_eq!(stage.simulator.add_guests(batch), count);
}

/// Terminations of those guests, by `kubectl apply -f` of one file.
pub(super) async fn apply(stage: &Stage<'_>, prefix: &str, count: usize) {
    let documents: Vec<String> = (0..count)
        .map(|index| {
            let name = format!("{prefix}{index}");
            json!({
                "apiVersion": "guestops.dev/v1alpha1", "kind": "GuestTermination",
                "metadata": {"name": name, "namespace": stage.namespace},
                "spec": {"guestId": name, "reason": "timeout", "retainData": true},
            })
            .to_string()
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("terminations.yaml");
    std::fs::write(&file, documents.join("\n---\n")).unwrap();
    run(stage.cluster.kubectl().arg("apply").arg("-f").arg(&file))
        .await
        .unwrap();
}

/// Waits until that many objects are there and all of them are settled.
pub(super) async fn all_settled(stage: &Stage<'_>, count: usize) -> Vec<Value> {
    let open = ListParams::default().fields("status.settled!=true");
    let mut left = Vec::new();
    for _ in 0..900 {
        let known = stage
            .terminations()
            .list_metadata(&ListParams::default())
            .await
            .unwrap()
            .items
            .len();
        left = stage.terminations().list(&open).await.unwrap().items;
        if known == count && left.is_empty() {
            let all: Vec<GuestTermination> = stage.terminations().list(&ListParams::default()).await.unwrap().items;
            return all.iter().map(|object| serde_json::to_value(object).unwrap()).collect();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!(
        "{} of {count} are not settled; one of them: {:#?}",
        left.len(),
        left.first()
    );
}
