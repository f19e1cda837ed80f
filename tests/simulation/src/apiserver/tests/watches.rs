//! Watching, under the operator's selector.

use std::time::Duration;

use serde_json::{Value, json};

use super::bench::{Bench, event, now, read, version};
use crate::apiserver::{
    Reply,
    requests::{self, Preconditions, Side, TERMINATIONS},
};

const OPEN: (&str, &str) = ("fieldSelector", "status.settled!=true");

#[test]
fn leaving_the_selection_is_a_deletion_with_the_old_content_and_the_new_version() {
    let mut bench = Bench::new();
    let start = bench.server.version().to_string();
    let mut watch = bench.watch(&[OPEN, ("resourceVersion", &start)]);
    let created = bench.termination("a");
    let begun = bench.merge("a", Side::Status, &json!({"status": {"attempts": 1}}));
    let settled = bench.merge("a", Side::Status, &json!({"status": {"settled": true}}));
    let labelled = bench.merge("a", Side::Main, &json!({"metadata": {"labels": {"a": "b"}}}));
    bench.done(&requests::delete(&TERMINATIONS, "care", "a", &Preconditions::default()));
    let lines = watch.next_lines(&bench.server, bench.server.version());
    assert_eq!(
        lines.iter().map(event).collect::<Vec<_>>(),
        [
            format!("ADDED a {}", version(&created)),
            format!("MODIFIED a {}", version(&begun)),
            format!("DELETED a {}", version(&settled)),
        ]
    );
    let left: Value = serde_json::from_slice(&lines[2]).unwrap();
    assert_eq!(left["object"]["status"], begun["status"]);
    assert!(version(&labelled) < bench.server.version());
    assert!(bench.told(&mut watch).is_empty());
}

#[test]
fn an_object_that_enters_the_selection_is_added() {
    let mut bench = Bench::new();
    bench.termination("a");
    let start = bench.server.version().to_string();
    let suspended = ("fieldSelector", "status.phase=Suspended");
    let mut watch = bench.watch(&[suspended, ("resourceVersion", &start)]);
    let entered = bench.merge("a", Side::Status, &json!({"status": {"phase": "Suspended"}}));
    assert_eq!(bench.told(&mut watch), [format!("ADDED a {}", version(&entered))]);
}

#[test]
fn a_deletion_brings_the_last_content_under_a_version_of_its_own() {
    let mut bench = Bench::new();
    bench.termination("a");
    let start = bench.server.version();
    let mut watch = bench.watch(&[OPEN, ("resourceVersion", &start.to_string())]);
    bench.done(&requests::delete(&TERMINATIONS, "care", "a", &Preconditions::default()));
    assert_eq!(bench.told(&mut watch), [format!("DELETED a {}", start + 1)]);
}

#[test]
fn a_bookmark_is_never_beyond_a_line_that_is_due() {
    let mut bench = Bench::new();
    let start = bench.server.version();
    let mut watch = bench.watch(&[
        OPEN,
        ("resourceVersion", &start.to_string()),
        ("allowWatchBookmarks", "true"),
    ]);
    let bookmark = |bench: &Bench, watch: &mut crate::apiserver::Watch| {
        let line = watch.bookmark(&bench.server, bench.server.version()).unwrap();
        let line: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(
            (&line["type"], &line["object"]["kind"]),
            (&json!("BOOKMARK"), &json!("GuestTermination"))
        );
        version(&line["object"])
    };
    // A write that the watch does not see moves it on.
    bench.done(&requests::create(
        &requests::NAMESPACES,
        "",
        &json!({"metadata": {"name": "n"}}),
    ));
    assert_eq!(bookmark(&bench, &mut watch), start + 1);
    bench.termination("a");
    bench.done(&requests::create(
        &requests::NAMESPACES,
        "",
        &json!({"metadata": {"name": "m"}}),
    ));
    assert_eq!(bookmark(&bench, &mut watch), start + 1);
    assert_eq!(bench.told(&mut watch), [format!("ADDED a {}", start + 2)]);
    assert_eq!(bookmark(&bench, &mut watch), start + 3);

    let mut silent = bench.watch(&[("resourceVersion", &start.to_string())]);
    assert!(silent.bookmark(&bench.server, start + 3).is_none());
}

#[test]
fn a_watch_without_a_version_begins_with_what_there_is() {
    let mut bench = Bench::new();
    bench.termination("a");
    bench.termination("b");
    let version = bench.server.version();
    bench.merge("b", Side::Status, &json!({"status": {"settled": true}}));
    let mut watch = bench.watch(&[OPEN]);
    assert_eq!(bench.told(&mut watch), [format!("ADDED a {}", version - 1)]);
    let mut watch = bench.watch(&[
        OPEN,
        ("sendInitialEvents", "true"),
        ("resourceVersionMatch", "NotOlderThan"),
        ("allowWatchBookmarks", "true"),
    ]);
    let lines = watch.next_lines(&bench.server, version + 1);
    assert_eq!(lines.len(), 2);
    let mark: Value = serde_json::from_slice(&lines[1]).unwrap();
    assert_eq!(
        mark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"],
        "true"
    );
}

#[test]
fn what_was_compacted_cannot_be_watched_from() {
    let mut bench = Bench::new();
    let start = bench.server.version().to_string();
    let from = [OPEN, ("resourceVersion", start.as_str())];
    let mut told = bench.watch(&from);
    let mut behind = bench.watch(&from);
    bench.termination("a");
    bench.termination("b");
    assert_eq!(bench.told(&mut told).len(), 2);
    bench.server.compact(bench.server.version());
    assert!(bench.told(&mut told).is_empty() && !told.has_ended());
    for watch in [&mut behind, &mut bench.watch(&from)] {
        let lines = watch.next_lines(&bench.server, bench.server.version());
        let line: Value = serde_json::from_slice(&lines[0]).unwrap();
        assert_eq!(
            (lines.len(), &line["type"], &line["object"]["code"]),
            (1, &json!("ERROR"), &json!(410))
        );
        assert!(watch.has_ended());
    }
    bench.server.refuse_old_watches(true);
    let request = requests::list(&TERMINATIONS, "", &[("watch", "1"), ("resourceVersion", &start)]);
    match bench.server.handle(now(), None, &request) {
        Reply::Answer(answer) => assert_eq!(read(&answer).0, 410),
        Reply::Watch(watch) => panic!("{watch:?}"),
    }
}

#[test]
fn a_watch_says_how_long_it_lives() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.watch(&[("timeoutSeconds", "60")]).timeout(),
        Some(Duration::from_secs(60))
    );
    assert_eq!(bench.watch(&[("timeoutSeconds", "0")]).timeout(), None);
    assert_eq!(bench.watch(&[]).timeout(), None);
}

#[test]
fn lines_come_as_far_as_they_are_asked_for() {
    let mut bench = Bench::new();
    let start = bench.server.version();
    let mut watch = bench.watch(&[("resourceVersion", &start.to_string())]);
    bench.termination("a");
    bench.termination("b");
    assert_eq!(watch.next_lines(&bench.server, start + 1).len(), 1);
    assert!(watch.next_lines(&bench.server, start + 1).is_empty());
    assert_eq!(watch.next_lines(&bench.server, start + 2).len(), 1);
}
