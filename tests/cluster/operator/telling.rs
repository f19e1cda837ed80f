//! What is told of a termination beside its status: once, in order, and without holding up anybody.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::Method;
use serde_json::json;
use simulator::api::{FaultSpec, GuestSpec, Moment, Operation, Outage, OutageKind, RetryAfter, ScriptedAnswer};

use super::{
    lifecycle_stage::{from_now, instant, seconds, with_pacing},
    supervision_stage::{Fate, before},
};
use crate::stage::Stage;

fn is_event(request: &http::Request<kube::client::Body>) -> bool {
    request.uri().path().starts_with("/apis/events.k8s.io/")
}

fn is_status_of(request: &http::Request<kube::client::Body>, name: &str) -> bool {
    request.method() == Method::PUT
        && request
            .uri()
            .path()
            .ends_with(&format!("guestterminations/{name}/status"))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_whose_write_was_stored_and_not_answered_is_told_once() {
    let stage = Stage::set("told-late").await;
    let writes = Arc::new(AtomicUsize::new(0));
    let rig = stage
        .rig(stage.settings(), |seams| {
            let writes = writes.clone();
            seams.kube = before(&seams.kube, move |request| {
                // The first is the intent's, the second the result's.
                match is_status_of(request, "guest") && writes.fetch_add(1, Ordering::SeqCst) == 1 {
                    true => Fate::Lose,
                    false => Fate::Pass,
                }
            });
        })
        .await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    assert_eq!(stage.settled("guest").await["status"]["outcome"], "Terminated");
    let events = stage.events_with("guest", "Terminated").await;
    assert_eq!(events.len(), 1, "{events:?}");
    let metrics = rig.get("/metrics").1;
    let told = "guest_termination_outcomes_total{outcome=\"Terminated\"} 1\n";
    assert!(metrics.contains(told), "{metrics}");
    let unanswered = "kind=\"GuestTermination\",outcome=\"unanswered\"} 1\n";
    assert!(metrics.contains(unanswered), "{metrics}");
    let lines = rig.audit.json();
    assert_eq!(lines.iter().filter(|line| line["kind"] == "outcome").count(), 1);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_api_that_hangs_holds_up_no_termination() {
    const MANY: usize = 12;
    let stage = Stage::set("slow-events").await;
    let mut settings = stage.settings();
    settings.workers = 2;
    settings.deliveries = 2;
    let rig = stage
        .rig(settings, |seams| {
            seams.kube = before(&seams.kube, |request| match is_event(request) {
                true => Fate::Hang,
                false => Fate::Pass,
            });
        })
        .await;
    stage.simulator.add_guest(GuestSpec::active("first"));
    stage.terminate("first", json!({})).await;
    stage.settled("first").await;
    let names: Vec<_> = (0..MANY).map(|index| format!("guest-{index}")).collect();
    let began = Instant::now();
    for name in &names {
        stage.simulator.add_guest(GuestSpec::active(name));
        stage.terminate(name, json!({})).await;
    }
    for name in &names {
        stage.settled(name).await;
    }
    // Held up for the five seconds of each call, two workers would take half a minute.
    assert!(began.elapsed() < seconds(20), "{:?}", began.elapsed());
    let began = Instant::now();
    rig.stop().await;
    assert!(
        began.elapsed() < seconds(8),
        "what hangs does not hold up the end: {:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_events_are_published_before_the_end() {
    let stage = Stage::set("last-events").await;
    let rig = stage
        .rig(stage.settings(), |seams| {
            seams.kube = before(&seams.kube, |request| match is_event(request) {
                true => Fate::Late(Duration::from_millis(1500)),
                false => Fate::Pass,
            });
        })
        .await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    stage.finished("guest").await;
    rig.stop().await;
    let events = stage.events_of("guest").await;
    assert!(events.iter().any(|(_, reason, _)| reason == "Terminated"), "{events:?}");
}

/// A pause that an answer brings while the operator stops is read by the next process.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_learnt_while_it_stops_is_written() {
    let stage = Stage::set("last-pause").await;
    let rig = stage.rig(stage.settings(), |_| ()).await;
    stage.warm_up().await;
    let throttled = FaultSpec {
        delay_after_ms: 2000,
        ..FaultSpec::on(Operation::Terminate)
            .times(1)
            .answer(ScriptedAnswer::vendor(429).retry_after(RetryAfter::Seconds(900)))
    };
    stage.simulator.add_fault(throttled).unwrap();
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Terminate, Moment::Received, "guest").await;
    let now = from_now(0);
    rig.stop().await;
    let connection = serde_json::to_value(stage.connections().get("default").await.unwrap()).unwrap();
    let until = &connection["status"]["rateLimit"]["pausedUntil"];
    assert!(until.is_string(), "{connection:#}");
    let pause = instant(until).duration_since(now.parse().unwrap());
    assert!((890..=910).contains(&pause.as_secs()), "{pause:?}");
    // The next process asks nothing.
    let asked = stage.asked(Operation::Observe, "guest");
    let next = stage.rig(stage.settings(), |_| ()).await;
    next.probe_until("/readyz", 200).await;
    tokio::time::sleep(seconds(3)).await;
    assert_eq!(stage.asked(Operation::Observe, "guest"), asked);
    next.stop().await;
}

/// While it stops, what the API server refuses is tried again at a pace, and given up in time.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_refused_while_it_stops_is_tried_at_a_pace() {
    let stage = Stage::set("drain-pace").await;
    let (refused, tries) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let settings = with_pacing(&stage, |pacing| pacing.drain = seconds(4));
    let rig = stage
        .rig(settings, |seams| {
            let (refused, tries) = (refused.clone(), tries.clone());
            seams.kube = before(&seams.kube, move |request| {
                if is_status_of(request, "guest") && refused.load(Ordering::SeqCst) {
                    tries.fetch_add(1, Ordering::SeqCst);
                    return Fate::Refuse(403, "no");
                }
                Fate::Pass
            });
        })
        .await;
    stage.warm_up().await;
    let slow = FaultSpec {
        delay_after_ms: 1500,
        ..FaultSpec::on(Operation::Terminate)
    };
    stage.simulator.add_fault(slow).unwrap();
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Terminate, Moment::Received, "guest").await;
    refused.store(true, Ordering::SeqCst);
    let began = Instant::now();
    rig.stop().await;
    let (took, tries) = (began.elapsed(), tries.load(Ordering::SeqCst));
    assert!(took >= seconds(4) && took < seconds(12), "{took:?}");
    assert!((2..=10).contains(&tries), "{tries} tries");
}

/// The end by the deadline that could not be written is told again if an edit prolonged the deadline meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_was_put_off_is_told_when_it_comes() {
    let stage = Stage::bare("told-again").await;
    let refused = Arc::new(AtomicBool::new(false));
    let rig = stage
        .rig(stage.settings(), |seams| {
            let refused = refused.clone();
            seams.kube = before(&seams.kube, move |request| {
                match is_status_of(request, "guest") && refused.load(Ordering::SeqCst) {
                    true => Fate::Refuse(403, "no"),
                    false => Fate::Pass,
                }
            });
        })
        .await;
    stage.terminate("guest", json!({"activeDeadlineSeconds": 4})).await;
    stage.waits("guest", "Unknown/WaitingForConnection").await;
    refused.store(true, Ordering::SeqCst);
    let ends = || rig.audit.json().iter().filter(|line| line["kind"] == "outcome").count();
    for _ in 0..200 {
        if ends() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(ends(), 1);
    stage
        .edit("guest", json!({"spec": {"activeDeadlineSeconds": 12}}))
        .await;
    tokio::time::sleep(seconds(2)).await;
    refused.store(false, Ordering::SeqCst);
    let object = stage.finished("guest").await;
    assert_eq!(object["status"]["outcome"], "DeadlineExceeded");
    assert_eq!(ends(), 2, "{:?}", rig.audit.json());
    rig.stop().await;
}

/// The token endpoint's word on credentials that were replaced meanwhile says nothing of those in force.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_refusal_of_old_credentials_says_nothing_of_the_new_ones() {
    let stage = Stage::bare("late-token").await;
    let late = FaultSpec {
        delay_after_ms: 6000,
        ..FaultSpec::on(Operation::Token)
            .times(1)
            .answer(ScriptedAnswer::vendor(401))
    };
    stage.simulator.add_fault(late).unwrap();
    stage.connect(stage.connection("default")).await;
    let rig = stage.rig(stage.settings(), |_| ()).await;
    for _ in 0..200 {
        if stage.calls(Operation::Token) == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stage
        .secret(
            "fresh",
            &[
                ("clientId", simulator::CLIENT_ID),
                ("clientSecret", simulator::CLIENT_SECRET),
            ],
        )
        .await;
    stage
        .edit_connection("default", json!({"credentialsSecretRef": {"name": "fresh"}}))
        .await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    let began = Instant::now();
    while began.elapsed() < seconds(9) {
        let connection = serde_json::to_value(stage.connections().get("default").await.unwrap()).unwrap();
        let ready = crate::stage::verdict(&connection, "Ready");
        assert_ne!(ready, "False/CredentialsInvalid");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    stage.connection_says("default", "True/TokenValid").await;
    assert_eq!(stage.settled("guest").await["status"]["outcome"], "Terminated");
    rig.stop().await;
}

/// The answer to a call that comes when another process has finished the termination has its audit line.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_comes_when_another_process_has_finished_has_its_line() {
    let stage = Stage::set("late-answer").await;
    let late = FaultSpec {
        delay_after_ms: 6000,
        ..FaultSpec::on(Operation::Terminate).times(1)
    };
    stage.simulator.add_fault(late).unwrap();
    let first = stage.rig(stage.settings(), |_| ()).await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Terminate, Moment::Effective, "guest").await;
    let second = stage.rig(stage.settings(), |_| ()).await;
    let object = stage.finished("guest").await;
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Observation");
    stage.happens(Operation::Terminate, Moment::Answered, "guest").await;
    let told = || {
        let lines = first.audit.json();
        lines.iter().filter(|line| line["kind"] == "attempt_result").count()
    };
    for _ in 0..200 {
        if told() > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let lines = first.audit.json();
    let (started, over) = (&lines[0], lines.last().unwrap());
    assert_eq!(started["kind"], "attempt_started");
    assert_eq!(
        (&over["kind"], &over["result"]),
        (&json!("attempt_result"), &json!("Applied"))
    );
    assert_eq!(
        (&over["attempt_id"], &over["http_status"]),
        (&started["attempt_id"], &json!(204))
    );
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 1);
    second.stop().await;
    first.stop().await;
}

/// Where nobody waits any more there is nobody to probe with: the connection claims no outage then.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_nobody_waits_for_is_not_claimed() {
    let stage = Stage::set("nobody-waits").await;
    let rig = stage.rig(stage.settings(), |_| ()).await;
    stage.warm_up().await;
    stage.simulator.set_outage(Outage::vendor(OutageKind::Unavailable));
    // Five failures in a row open the breaker.
    let names: Vec<_> = (0..6).map(|index| format!("guest-{index}")).collect();
    for name in &names {
        stage.simulator.add_guest(GuestSpec::active(name));
        stage.terminate(name, json!({})).await;
    }
    stage.connection_says("default", "Unknown/Unavailable").await;
    for name in &names {
        stage.delete(name).await;
    }
    stage.connection_says("default", "True/TokenValid").await;
    // The breaker is as it was: the next one asks alone, and spends nothing.
    stage.simulator.add_guest(GuestSpec::active("next"));
    stage.terminate("next", json!({"backoffLimit": 0})).await;
    stage.connection_says("default", "Unknown/Unavailable").await;
    stage.simulator.set_outage(Outage::default());
    let object = stage.settled("next").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    stage.connection_says("default", "True/TokenValid").await;
    rig.stop().await;
}
