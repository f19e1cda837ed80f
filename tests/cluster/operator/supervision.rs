//! No silent death: what panics is told on its object and nowhere else, and what ends takes the process along.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use http::Method;
use serde_json::json;
use simulator::api::{GuestSpec, Moment, Operation};

use super::{
    lifecycle_stage::{instant, seconds, with_pacing, with_policy},
    supervision_stage::{Fate, around, before},
};
use crate::stage::{Lines, Stage, condition, verdict};

/// The rest of what panicked, at least and at most half of it more.
const REST: Duration = Duration::from_secs(4);

/// Panics where it is switched on, and notes when.
#[derive(Clone, Default)]
struct Curse(Arc<(AtomicBool, Mutex<Vec<Instant>>)>);

impl Curse {
    fn on() -> Self {
        let curse = Self::default();
        curse.0.0.store(true, Ordering::SeqCst);
        curse
    }

    fn lift(&self) {
        self.0.0.store(false, Ordering::SeqCst);
    }

    fn strike(&self) {
        if self.0.0.load(Ordering::SeqCst) {
            self.0.1.lock().unwrap().push(Instant::now());
            panic!("a canary in a panic");
        }
    }

    fn strikes(&self) -> usize {
        self.0.1.lock().unwrap().len()
    }

    /// The shortest time between two.
    fn shortest_rest(&self) -> Duration {
        let strikes = self.0.1.lock().unwrap();
        strikes.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_that_panics_is_a_condition_of_its_object_and_nothing_else() {
    let stage = Stage::set("panic-pass").await;
    let curse = Curse::on();
    let settings = with_policy(&stage, |policy| policy.backoff_cap = 2 * REST);
    let rig = stage
        .rig(settings, |seams| {
            let curse = curse.clone();
            let strike = move |request: &http::Request<bytes::Bytes>| {
                if request.uri().path().contains("cursed") {
                    curse.strike();
                }
            };
            seams.http = around(&seams.http, strike, |_| ());
        })
        .await;
    for name in ["cursed", "well", "later"] {
        stage.simulator.add_guest(GuestSpec::active(name));
    }
    stage.terminate("cursed", json!({})).await;
    stage.terminate("well", json!({})).await;
    let object = stage.waits("cursed", "Unknown/InternalError").await;
    assert!(!object.to_string().contains("canary"), "{object:#}");
    let ready = condition(&object, "Ready");
    let rest = instant(&object["status"]["nextAttemptTime"]).duration_since(instant(&ready["lastTransitionTime"]));
    assert!(
        rest.as_secs() >= REST.as_secs() as i64 && rest.as_secs() <= 2 * REST.as_secs() as i64 + 1,
        "{rest:?}"
    );
    stage.events_with("cursed", "InternalError").await;
    assert_eq!(stage.settled("well").await["status"]["outcome"], "Terminated");
    stage.terminate("later", json!({})).await;
    assert_eq!(stage.settled("later").await["status"]["outcome"], "Terminated");
    // Once more at least, and then its cause is gone.
    for _ in 0..600 {
        if curse.strikes() >= 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(curse.shortest_rest() >= REST, "{:?}", curse.shortest_rest());
    assert!(!rig.task.is_finished());
    curse.lift();
    let object = stage.settled("cursed").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Response");
    assert_eq!(stage.calls_of("cursed"), (2, 1));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_pass_panics_after_it_left_is_not_sent_again() {
    let stage = Stage::set("panic-call").await;
    let curse = Curse::on();
    let settings = with_policy(&stage, |policy| policy.backoff_cap = REST / 2);
    let rig = stage
        .rig(settings, |seams| {
            let curse = curse.clone();
            let strike = move |request: &http::Request<bytes::Bytes>| {
                if request.method() == Method::DELETE {
                    curse.strike();
                }
            };
            seams.http = around(&seams.http, |_| (), strike);
        })
        .await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    stage.happens(Operation::Terminate, Moment::Answered, "guest").await;
    let object = stage.settled("guest").await;
    assert_eq!(object["status"]["outcome"], "Terminated");
    assert_eq!(object["status"]["audit"]["confirmedBy"], "Observation");
    assert_eq!(curse.strikes(), 1);
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 1);
    let lines = rig.audit.json();
    let started = lines.iter().find(|line| line["kind"] == "attempt_started").unwrap();
    let over = lines.iter().find(|line| line["kind"] == "attempt_result").unwrap();
    assert_eq!(started["attempt_id"], over["attempt_id"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_that_panics_is_a_try_that_failed() {
    let stage = Stage::set("panic-webhook").await;
    let curse = Curse::on();
    let settings = with_policy(&stage, |policy| policy.backoff_cap = REST);
    let rig = stage
        .rig(settings, |seams| {
            let curse = curse.clone();
            let strike = move |request: &http::Request<bytes::Bytes>| {
                if request.headers().contains_key("webhook-id")
                    && request.body().windows(6).any(|part| part == b"cursed")
                {
                    curse.strike();
                }
            };
            seams.http = around(&seams.http, strike, |_| ());
        })
        .await;
    for name in ["cursed", "well"] {
        stage.simulator.add_guest(GuestSpec::active(name));
        stage.terminate(name, json!({})).await;
    }
    let object = stage
        .until("cursed", "a delivery that panicked", |object| {
            verdict(object, "WebhookDelivered") == "Unknown/InternalError"
        })
        .await;
    assert_eq!(verdict(&object, "Ready"), "True/Terminated");
    assert_eq!(object["status"]["webhooks"][0]["attempts"], 1);
    assert_eq!(
        verdict(&stage.settled("well").await, "WebhookDelivered"),
        "True/Delivered"
    );
    curse.lift();
    let object = stage.settled("cursed").await;
    assert_eq!(verdict(&object, "WebhookDelivered"), "True/Delivered");
    assert_eq!(object["status"]["webhooks"][0]["attempts"], 2);
    assert!(!rig.task.is_finished());
    rig.stop().await;
}

/// A connection whose chore panics is left alone, and the others work.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_makes_its_keeper_panic_stops_no_other() {
    let stage = Stage::set("panic-keeper").await;
    stage.connect(stage.connection("cursed")).await;
    let rig = stage
        .rig(stage.settings(), |seams| {
            seams.kube = before(&seams.kube, |request| {
                match request.method() == Method::PUT
                    && request.uri().path().ends_with("genesysconnections/cursed/status")
                {
                    true => Fate::Panic(Duration::ZERO),
                    false => Fate::Pass,
                }
            });
        })
        .await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    assert_eq!(stage.settled("guest").await["status"]["outcome"], "Terminated");
    stage.connection_says("default", "True/TokenValid").await;
    assert!(!rig.task.is_finished());
    rig.stop().await;
}

/// What is under way when it is asked to stop panics, and so does its repetition among the last words.
#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_whose_last_words_panic_stops_in_good_order() {
    let stage = Stage::set("last-words").await;
    stage.connect(stage.connection("cursed")).await;
    let (begun, mut writes) = tokio::sync::watch::channel(false);
    let rig = stage
        .rig(stage.settings(), |seams| {
            seams.kube = before(&seams.kube, move |request| {
                if request.method() == Method::PUT && request.uri().path().ends_with("genesysconnections/cursed/status")
                {
                    begun.send_replace(true);
                    return Fate::Panic(Duration::from_millis(500));
                }
                Fate::Pass
            });
        })
        .await;
    writes.wait_for(|begun| *begun).await.unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_panics_ends_the_process_by_name() {
    for (kind, name) in [
        ("guestterminations", "the watch of the terminations"),
        ("genesysconnections", "the watch of the connections"),
    ] {
        let stage = Stage::set("panic-watch").await;
        let rig = stage
            .rig(stage.settings(), |seams| {
                seams.kube = before(&seams.kube, move |request| {
                    let query = request.uri().query().unwrap_or_default();
                    match request.uri().path().ends_with(kind) && query.contains("watch=true") {
                        true => Fate::Panic(Duration::ZERO),
                        false => Fate::Pass,
                    }
                });
            })
            .await;
        let ended = rig.ends().await;
        assert_eq!(ended.task(), name);
        assert!(!format!("{ended:?} {ended}").contains("canary"), "{ended}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_hangs_fails_liveness_and_an_api_server_that_is_away_does_not() {
    let stage = Stage::set("stuck-watch").await;
    let settings = with_pacing(&stage, |pacing| {
        pacing.watch_timeout_seconds = 1;
        pacing.stuck_margin = seconds(15);
    });
    let (hangs, away) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let rig = stage
        .rig(settings, |seams| {
            let (hangs, away) = (hangs.clone(), away.clone());
            seams.kube = before(&seams.kube, move |request| {
                let watch = request.uri().query().unwrap_or_default().contains("watch=true");
                match request.uri().path().ends_with("guestterminations") && watch && hangs.load(Ordering::SeqCst) {
                    true => Fate::Hang,
                    false if away.load(Ordering::SeqCst) => Fate::Refuse(503, "away"),
                    false => Fate::Pass,
                }
            });
        })
        .await;
    rig.probe_until("/readyz", 200).await;
    away.store(true, Ordering::SeqCst);
    let silent = |body: &str| body.contains("[-]watch of G") && body.contains("failed: nothing heard");
    for _ in 0..1200 {
        if silent(&rig.get("/readyz").1) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(silent(&rig.get("/readyz").1), "{:?}", rig.get("/readyz"));
    // Longer than a watch may be stuck.
    let began = Instant::now();
    while began.elapsed() < seconds(22) {
        assert_eq!(rig.get("/livez"), (200, "ok\n".to_owned()));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    away.store(false, Ordering::SeqCst);
    hangs.store(true, Ordering::SeqCst);
    let body = rig.probe_until("/livez", 503).await;
    assert!(
        body.contains("[-]loop of the watch of GuestTerminations failed"),
        "{body}"
    );
    assert!(body.contains("[+]loop of the watch of GenesysConnections ok"), "{body}");
}

/// An audit log whose disk is full for a while.
struct Full {
    lines: Lines,
    full: Arc<AtomicBool>,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.lines.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_log_that_is_full_is_told_by_readiness_and_nothing_is_ended() {
    let stage = Stage::set("audit-ready").await;
    let (lines, full) = (Lines::default(), Arc::new(AtomicBool::new(true)));
    let sink = Full {
        lines: lines.clone(),
        full: full.clone(),
    };
    let rig = stage.rig_audited(stage.settings(), Box::new(sink), lines, |_| ()).await;
    rig.probe_until("/readyz", 200).await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    let body = rig.probe_until("/readyz", 503).await;
    assert!(body.contains("[-]audit log failed"), "{body}");
    assert_eq!(rig.get("/livez").0, 200);
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 0);
    full.store(false, Ordering::SeqCst);
    assert_eq!(stage.settled("guest").await["status"]["outcome"], "Terminated");
    rig.probe_until("/readyz", 200).await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_writes_that_fail_are_told_by_readiness_and_nothing_is_ended() {
    let stage = Stage::set("writes-ready").await;
    let full = Arc::new(AtomicBool::new(true));
    let rig = stage
        .rig(stage.settings(), |seams| {
            let full = full.clone();
            seams.kube = before(&seams.kube, move |request| {
                let write = request.method() != Method::GET;
                match write && full.load(Ordering::SeqCst) {
                    true => Fate::Refuse(500, "etcdserver: mvcc: database space exceeded"),
                    false => Fate::Pass,
                }
            });
        })
        .await;
    stage.simulator.add_guest(GuestSpec::active("guest"));
    stage.terminate("guest", json!({})).await;
    for _ in 0..600 {
        if rig.get("/readyz").1.contains("database space exceeded") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let (code, body) = rig.get("/readyz");
    assert_eq!(code, 503);
    assert!(
        body.contains("[-]status writes failed") && body.contains("database space exceeded"),
        "{body}"
    );
    assert_eq!(rig.get("/livez").0, 200);
    assert_eq!(stage.asked(Operation::Terminate, "guest"), 0);
    full.store(false, Ordering::SeqCst);
    assert_eq!(stage.settled("guest").await["status"]["outcome"], "Terminated");
    rig.probe_until("/readyz", 200).await;
    rig.stop().await;
}

/// The operator on a runtime of its own, every worker of which is held by a call that blocks.
#[test]
fn a_blocked_runtime_fails_liveness_and_the_probes_answer() {
    let outside = tokio::runtime::Runtime::new().unwrap();
    let inside = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let stage = outside.block_on(Stage::set("blocked"));
    let settings = with_pacing(&stage, |pacing| pacing.stuck_runtime = seconds(3));
    let blocked = Arc::new(AtomicBool::new(false));
    let rig = inside.block_on(stage.rig(settings, |seams| {
        let blocked = blocked.clone();
        let block = move |request: &http::Request<bytes::Bytes>| {
            while request.uri().path().contains("guest") && blocked.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        seams.http = around(&seams.http, block, |_| ());
    }));
    outside.block_on(async {
        rig.probe_until("/readyz", 200).await;
        assert_eq!(rig.get("/livez").0, 200);
        blocked.store(true, Ordering::SeqCst);
        stage.simulator.add_guest(GuestSpec::active("guest"));
        stage.terminate("guest", json!({})).await;
        let body = rig.probe_until("/livez", 503).await;
        assert!(body.contains("[-]runtime failed: nothing heard for 3 s"), "{body}");
        assert_eq!(rig.get("/metrics").0, 200);
        assert_eq!(rig.get("/readyz").0, 200);
        blocked.store(false, Ordering::SeqCst);
        assert_eq!(stage.settled("guest").await["status"]["outcome"], "Terminated");
        rig.probe_until("/livez", 200).await;
    });
    inside.block_on(rig.stop());
}
