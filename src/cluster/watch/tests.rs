use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::GuestTermination,
    cluster::testing::{Answer, Asked, Log, Then, cluster, termination_json},
    telemetry::WatchPulse,
};

fn page(names: &[&str], next: &str) -> Answer {
    let items: Vec<Value> = names.iter().map(|name| termination_json(name, "5")).collect();
    Answer::json(
        200,
        &json!({"apiVersion": "guestops.dev/v1alpha1", "kind": "GuestTerminationList",
            "metadata": {"resourceVersion": "10", "continue": next}, "items": items}),
    )
}

fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

fn bookmark(version: &str) -> String {
    let object = json!({"apiVersion": "guestops.dev/v1alpha1", "kind": "GuestTermination",
        "metadata": {"resourceVersion": version}});
    event("BOOKMARK", &object)
}

fn settings() -> WatchSettings {
    WatchSettings {
        namespace: Some("care".to_owned()),
        field_selector: Some("status.settled!=true".to_owned()),
        ..WatchSettings::default()
    }
}

/// Everything that the watch tells in that time, in short.
async fn watch_for(time: Duration, server: impl FnMut(&Asked) -> Answer + Send + 'static) -> (Vec<String>, Log) {
    let (cluster, log) = cluster(server);
    let pulse = WatchPulse::new(cluster.clock());
    let mut events = cluster.watch::<GuestTermination>(&settings(), Arc::new(|| 0.5), pulse);
    let mut told = Vec::new();
    let end = tokio::time::Instant::now() + time;
    while let Ok(event) = tokio::time::timeout_at(end, events.next()).await {
        told.push(short(&event.unwrap()));
    }
    (told, log)
}

fn short(event: &WatchEvent<GuestTermination>) -> String {
    let version = |object: &GuestTermination| {
        assert_eq!(object.metadata.managed_fields, None);
        let Identity {
            name, resource_version, ..
        } = object.metadata.clone().into();
        format!("{name}@{resource_version}")
    };
    match event {
        WatchEvent::ListBegan => "[".to_owned(),
        WatchEvent::Listed(object) => format!("={}", version(object)),
        WatchEvent::ListEnded => "]".to_owned(),
        WatchEvent::Applied(object) => format!("+{}", version(object)),
        WatchEvent::Deleted(object) => format!("-{}@{}", object.name, object.resource_version),
        WatchEvent::Undecodable { object, .. } => format!("?{}/{}", object.name, object.uid),
    }
}

fn count(log: &Log, watches: bool) -> usize {
    log.lock()
        .unwrap()
        .iter()
        .filter(|asked| asked.is_watch() == watches)
        .count()
}

#[tokio::test(start_paused = true)]
async fn lists_in_pages_then_watches() {
    let (told, log) = watch_for(Duration::from_secs(50), |asked| match asked {
        watch if watch.is_watch() => {
            let lines = vec![
                event("ADDED", &termination_json("c", "11")),
                bookmark("12"),
                event("DELETED", &termination_json("a", "13")),
            ];
            Answer::chunks(lines, Then::Silence)
        }
        first if !first.target.contains("continue") => page(&["a"], "more"),
        _ => page(&["b"], ""),
    })
    .await;
    assert_eq!(told, ["[", "=a@5", "=b@5", "]", "+c@11", "-a@13"]);
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 3);
    for asked in log.iter() {
        assert!(
            asked.target.contains("/namespaces/care/guestterminations?"),
            "{}",
            asked.target
        );
        assert!(
            asked.target.contains("fieldSelector=status.settled%21%3Dtrue"),
            "{}",
            asked.target
        );
    }
    assert!(
        log[0].target.contains("limit=500") && !log[0].target.contains("resourceVersion="),
        "{}",
        log[0].target
    );
    assert!(log[2].target.contains("timeoutSeconds=60") && log[2].target.contains("resourceVersion=10"));
}

#[tokio::test(start_paused = true)]
async fn goes_on_from_the_last_version_after_a_break() {
    let mut watches = 0;
    let (told, log) = watch_for(Duration::from_secs(30), move |asked| {
        if !asked.is_watch() {
            return page(&["a"], "");
        }
        watches += 1;
        match watches {
            1 => Answer::chunks(
                vec![event("MODIFIED", &termination_json("a", "11")), "{\"ty".to_owned()],
                Then::Break,
            ),
            _ => Answer::chunks(Vec::new(), Then::Silence),
        }
    })
    .await;
    assert_eq!(told, ["[", "=a@5", "]", "+a@11"]);
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 3);
    assert!(log[2].target.contains("resourceVersion=11"), "{}", log[2].target);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_too_old_at_the_start_lists_anew() {
    let mut watches = 0;
    let (told, _) = watch_for(Duration::from_secs(30), move |asked| {
        if !asked.is_watch() {
            return page(&["a"], "");
        }
        watches += 1;
        match watches {
            1 => Answer::status(410, "Expired", &json!({})),
            _ => Answer::chunks(Vec::new(), Then::Silence),
        }
    })
    .await;
    assert_eq!(told, ["[", "=a@5", "]", "[", "=a@5", "]"]);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_has_expired_begins_the_list_anew() {
    let mut expired = false;
    let (told, log) = watch_for(Duration::from_secs(30), move |asked| match asked {
        watch if watch.is_watch() => Answer::chunks(Vec::new(), Then::Silence),
        first if !first.target.contains("continue") => page(&["a"], "more"),
        _ if !std::mem::replace(&mut expired, true) => Answer::status(410, "Expired", &json!({})),
        _ => page(&["b"], ""),
    })
    .await;
    // Nothing is taken for absent because its page was never read: the list that broke off has no end.
    assert_eq!(told, ["[", "=a@5", "[", "=a@5", "=b@5", "]"]);
    assert_eq!(count(&log, false), 4);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_starts_a_watch_is_not_flooded() {
    let (_, log) = watch_for(Duration::from_secs(600), |asked| match asked.is_watch() {
        true => Answer::status(410, "Expired", &json!({})),
        false => page(&["a"], ""),
    })
    .await;
    assert!((80..=110).contains(&count(&log, false)), "{}", count(&log, false));
}

#[tokio::test(start_paused = true)]
async fn delays_grow_while_lists_fail() {
    let (told, log) = watch_for(Duration::from_secs(600), |_| {
        Answer::status(500, "InternalError", &json!({}))
    })
    .await;
    assert!(told.iter().all(|told| told == "["));
    let log = log.lock().unwrap();
    assert!((80..=110).contains(&log.len()), "{}", log.len());
    let gaps: Vec<u64> = log
        .windows(2)
        .take(5)
        .map(|pair| (pair[1].at - pair[0].at).as_millis() as u64)
        .collect();
    // Half of 1, 2, 4, 8 s fixed, and half of the other half; one millisecond is the answer's.
    assert_eq!(
        gaps.iter().map(|gap| gap / 50 * 50).collect::<Vec<_>>(),
        [750, 1_500, 3_000, 6_000, 6_000]
    );
}

#[tokio::test(start_paused = true)]
async fn watches_that_end_at_once_start_a_second_apart() {
    let (_, log) = watch_for(Duration::from_secs(60), |asked| match asked.is_watch() {
        true => Answer::chunks(Vec::new(), Then::End),
        false => page(&["a"], ""),
    })
    .await;
    assert!((55..=61).contains(&count(&log, true)), "{}", count(&log, true));
    assert_eq!(count(&log, false), 1);
}

#[tokio::test(start_paused = true)]
async fn one_object_that_does_not_fit_stops_nothing() {
    let bad = |version: &str| {
        let mut object = termination_json("bad", version);
        object["spec"] = json!({"guestId": 5});
        object
    };
    let (told, _) = watch_for(Duration::from_secs(30), move |asked| {
        if asked.is_watch() {
            let lines = vec![
                event("MODIFIED", &bad("11")),
                event("ADDED", &termination_json("c", "12")),
                event("DELETED", &bad("13")),
            ];
            return Answer::chunks(lines, Then::Silence);
        }
        let items = [termination_json("a", "5"), bad("6"), termination_json("b", "5")];
        Answer::json(
            200,
            &json!({"kind": "GuestTerminationList", "metadata": {"resourceVersion": "10"}, "items": items}),
        )
    })
    .await;
    assert_eq!(
        told,
        [
            "[",
            "=a@5",
            "?bad/uid-bad",
            "=b@5",
            "]",
            "?bad/uid-bad",
            "+c@12",
            "-bad@13"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_that_cannot_be_parsed_is_made_up_for_by_a_listing() {
    let mut watches = 0;
    let (told, _) = watch_for(Duration::from_secs(30), move |asked| {
        if !asked.is_watch() {
            return page(&["a"], "");
        }
        watches += 1;
        let garbage = vec![
            "{\"type\":\"MODIFIED\",\"object\":5}\n".to_owned(),
            event("ADDED", &termination_json("b", "12")),
        ];
        Answer::chunks(if watches == 1 { garbage } else { Vec::new() }, Then::Silence)
    })
    .await;
    assert_eq!(told, ["[", "=a@5", "]", "[", "=a@5", "]"]);
}

#[tokio::test(start_paused = true)]
async fn an_expired_version_inside_a_watch_lists_anew() {
    let mut watches = 0;
    let (told, _) = watch_for(Duration::from_secs(30), move |asked| {
        if !asked.is_watch() {
            return page(&["a"], "");
        }
        watches += 1;
        let expired = vec![event(
            "ERROR",
            &json!({"kind": "Status", "code": 410, "message": "too old", "reason": "Expired"}),
        )];
        Answer::chunks(if watches == 1 { expired } else { Vec::new() }, Then::Silence)
    })
    .await;
    assert_eq!(told, ["[", "=a@5", "]", "[", "=a@5", "]"]);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_does_not_stall_it() {
    let mut lists = 0;
    let (told, _) = watch_for(Duration::from_secs(30), move |asked| {
        lists += 1;
        match asked.is_watch() {
            true => Answer::chunks(Vec::new(), Then::Silence),
            false if lists == 1 => Answer::Never,
            false => page(&["a"], ""),
        }
    })
    .await;
    assert_eq!(told, ["[", "[", "=a@5", "]"]);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_are_heard_and_silence_is_noticed() {
    let (cluster, log) = cluster(|asked| match asked.is_watch() {
        true => Answer::chunks(vec![bookmark("11")], Then::Silence),
        false => page(&["a"], ""),
    });
    let pulse = WatchPulse::new(cluster.clock());
    let mut events = cluster.watch::<GuestTermination>(&settings(), Arc::new(|| 0.5), pulse.clone());
    let told = events.by_ref().take(3).count().await;
    assert_eq!(told, 3);
    let nothing = tokio::time::timeout(Duration::from_secs(64), events.next()).await;
    assert!(nothing.is_err());
    assert_eq!((pulse.heard.age().as_secs(), count(&log, true)), (63, 1));
    // Five seconds after its timeout the watch is given up, and the next one's bookmark is heard.
    let nothing = tokio::time::timeout(Duration::from_secs(2), events.next()).await;
    assert!(nothing.is_err());
    assert_eq!((pulse.heard.age().as_secs(), count(&log, true)), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn refusals_do_not_count_as_heard() {
    let (cluster, _) = cluster(|_| Answer::status(403, "Forbidden", &json!({})));
    let pulse = WatchPulse::new(cluster.clock());
    let mut events = cluster.watch::<GuestTermination>(&settings(), Arc::new(|| 0.5), pulse.clone());
    let end = tokio::time::Instant::now() + Duration::from_secs(100);
    while tokio::time::timeout_at(end, events.next()).await.is_ok() {}
    assert_eq!(pulse.heard.age().as_secs(), 100);
}

#[tokio::test(start_paused = true)]
async fn without_a_namespace_all_are_watched() {
    for namespace in [None, Some(String::new())] {
        let (cluster, log) = cluster(|_| page(&["a"], ""));
        let pulse = WatchPulse::new(cluster.clock());
        let settings = WatchSettings {
            namespace,
            ..WatchSettings::default()
        };
        let events = cluster.watch::<GuestTermination>(&settings, Arc::new(|| 0.5), pulse);
        assert_eq!(events.take(2).count().await, 2);
        let target = log.lock().unwrap()[0].target.clone();
        assert!(
            target.starts_with("/apis/guestops.dev/v1alpha1/guestterminations?"),
            "{target}"
        );
    }
}

/// The longest that a watch over that server shows nothing of itself, in an hour.
async fn longest_rest(server: impl FnMut(&Asked) -> Answer + Send + 'static) -> Duration {
    let (cluster, _) = cluster(server);
    let pulse = WatchPulse::new(cluster.clock());
    let mut events = cluster.watch::<GuestTermination>(&settings(), Arc::new(|| 1.0), pulse.clone());
    let mut longest = Duration::ZERO;
    for _ in 0..3600 {
        let _ = tokio::time::timeout(Duration::from_secs(1), events.next()).await;
        longest = longest.max(pulse.tried.age());
    }
    longest
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_round_whatever_the_server_does() {
    let bound = Duration::from_secs(60 + 14);
    let watch = |answer: fn() -> Answer| {
        move |asked: &Asked| match asked.is_watch() {
            true => answer(),
            false => page(&["a"], ""),
        }
    };
    for (rest, what) in [
        (longest_rest(|_| Answer::Never).await, "nothing is answered"),
        (longest_rest(|_| Answer::Broken).await, "nothing can be connected to"),
        (
            longest_rest(|_| Answer::status(403, "Forbidden", &json!({}))).await,
            "everything is refused",
        ),
        (longest_rest(watch(|| Answer::Never)).await, "watches do not start"),
        (
            longest_rest(watch(|| Answer::chunks(vec![], Then::Silence))).await,
            "watches are silent",
        ),
        (
            longest_rest(watch(|| Answer::chunks(vec![bookmark("11")], Then::Silence))).await,
            "there are bookmarks and no events",
        ),
        (
            longest_rest(watch(|| Answer::chunks(vec![], Then::Break))).await,
            "watches break",
        ),
    ] {
        assert!(rest <= bound, "{what}: {rest:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_nobody_drives_is_seen_to_stand() {
    let (cluster, _) = cluster(|_| page(&["a"], ""));
    let pulse = WatchPulse::new(cluster.clock());
    let mut events = cluster.watch::<GuestTermination>(&settings(), Arc::new(|| 0.5), pulse.clone());
    events.next().await;
    // Whoever takes the events hangs.
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert!(pulse.tried.age() >= Duration::from_secs(599));
}
