use super::*;

const ZERO: Reading = Reading {
    wall: Timestamp::UNIX_EPOCH,
    monotonic: Moment::ZERO,
};

fn object(uid: &str, version: &str) -> GuestTermination {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "guestops.dev/v1alpha1",
        "kind": "GuestTermination",
        "metadata": {"name": uid, "namespace": "care", "uid": uid, "resourceVersion": version,
                     "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"guestId": "guest", "reason": "timeout", "retainData": true},
    }))
    .unwrap()
}

fn identity(uid: &str, version: &str) -> Identity {
    object(uid, version).metadata.into()
}

#[test]
fn older_versions_change_nothing() {
    let mut index = Index::default();
    let uid: Uid = "a".into();
    assert_eq!(index.see(object("a", "10"), ZERO), Some((uid.clone(), Taken::News)));
    assert_eq!(index.see(object("a", "9"), ZERO), Some((uid.clone(), Taken::Known)));
    index.wrote(&uid, object("a", "12"), ZERO);
    assert_eq!(index.see(object("a", "11"), ZERO), Some((uid.clone(), Taken::Known)));
    assert_eq!(
        index.see(object("a", "12"), ZERO),
        Some((uid.clone(), Taken::Known)),
        "the own write's echo"
    );
    assert_eq!(index.see(object("a", "100"), ZERO), Some((uid, Taken::News)));
}

#[test]
fn only_the_own_settling_write_explains_a_departure() {
    let mut index = Index::default();
    index.see(object("a", "10"), ZERO);
    assert_eq!(
        index.left(&identity("a", "10")).map(|(_, why)| why),
        Some(Departure::Unclear)
    );
    let mut settled = object("a", "11");
    settled.status = Some(GuestTerminationStatus {
        settled: Some(true),
        ..Default::default()
    });
    index.wrote(&"a".into(), settled, ZERO);
    assert_eq!(
        index.left(&identity("a", "11")).map(|(_, why)| why),
        Some(Departure::Settled)
    );
    assert_eq!(
        index.left(&identity("a", "12")).map(|(_, why)| why),
        Some(Departure::Unclear)
    );
    assert_eq!(index.left(&identity("b", "12")), None);
}

#[test]
fn a_listing_tells_who_is_missing() {
    let mut index = Index::default();
    for uid in ["a", "b"] {
        index.see(object(uid, "1"), ZERO);
    }
    index.list_began();
    index.see(object("b", "1"), ZERO);
    index.see(object("c", "2"), ZERO);
    assert_eq!(index.list_ended(), ["a".into()]);
    assert_eq!(index.list_ended(), Vec::<Uid>::new());
}

#[test]
fn what_is_removed_leaves_nothing_behind() {
    let mut index = Index::default();
    let (uid, _) = index.see(object("a", "1"), ZERO).unwrap();
    let connection = index.get(&uid).unwrap().connection();
    assert_eq!(index.users(&connection), std::slice::from_ref(&uid));
    index.remove(&uid);
    assert!(index.entries.is_empty() && index.by_connection.is_empty());
}
