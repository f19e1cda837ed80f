use super::*;
use crate::controller::connections::{Change, Connections};

const OBSERVE: Operation = Operation::Observe;
const TERMINATE: Operation = Operation::Terminate;
const START: Reading = Reading {
    wall: Timestamp::UNIX_EPOCH,
    monotonic: Moment::ZERO,
};

fn object(uid: &str, version: &str) -> GenesysConnection {
    let object = serde_json::json!({
        "apiVersion": "guestops.dev/v1alpha1", "kind": "GenesysConnection",
        "metadata": {"name": "default", "namespace": "care", "uid": uid, "generation": 1, "resourceVersion": version},
        "spec": {"api": "WebMessagingGuests", "region": "us-east-1", "credentialsSecretRef": {"name": "genesys"}},
    });
    serde_json::from_value(object).unwrap()
}

fn connection() -> Connection {
    let mut connection = Connection::new(object("u", "1"), false).unwrap();
    connection.standing = Standing::Valid;
    connection
}

fn at(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

/// Doubling, as long as it is the same row.
fn backoff(row: u32) -> Duration {
    at(10 << row)
}

#[test]
fn pauses_of_unknown_length_grow_for_each_operation_by_itself() {
    let mut connection = connection();
    let now = Timestamp::UNIX_EPOCH;
    connection.pause_of_unknown_length(TERMINATE, backoff, now, at(100));
    assert_eq!(connection.resting_until, at(110));
    connection.pause_of_unknown_length(TERMINATE, backoff, now, at(105));
    assert_eq!(
        connection.resting_until,
        at(110),
        "what was under way together counts once"
    );
    connection.pause_of_unknown_length(TERMINATE, backoff, now, at(110));
    assert_eq!(connection.resting_until, at(130));
    // A look that works says nothing of the calls that are throttled.
    connection.succeeded(OBSERVE);
    connection.pause_of_unknown_length(OBSERVE, backoff, now, at(130));
    assert_eq!(connection.resting_until, at(140), "the looks' first");
    connection.pause_of_unknown_length(TERMINATE, backoff, now, at(140));
    assert_eq!(connection.resting_until, at(180), "the calls' third");
    connection.succeeded(TERMINATE);
    connection.pause_of_unknown_length(TERMINATE, backoff, now, at(180));
    assert_eq!(connection.resting_until, at(190));
}

#[test]
fn a_token_that_one_operation_refuses_is_not_made_good_by_the_other() {
    let mut connection = connection();
    let pacing = Pacing::default();
    connection.token_refused(TERMINATE, || "401".to_owned(), false, &pacing, at(100));
    assert_eq!(connection.trial_from, Some(at(130)));
    connection.succeeded(OBSERVE);
    assert_eq!(connection.standing, Standing::TokenRefused("401".to_owned()));
    assert_eq!(connection.trial_from, Some(at(130)));
    // What was under way together counts once; a probe that is refused again counts.
    connection.token_refused(TERMINATE, || "401 again".to_owned(), false, &pacing, at(101));
    assert_eq!(connection.trial_from, Some(at(130)));
    connection.token_refused(TERMINATE, || "401 again".to_owned(), true, &pacing, at(130));
    assert_eq!(connection.trial_from, Some(at(190)));
    connection.succeeded(TERMINATE);
    assert_eq!((&connection.standing, connection.trial_from), (&Standing::Valid, None));
}

#[test]
fn a_pause_is_over_when_it_is_over_whatever_the_wall_clock_says() {
    let mut connection = connection();
    let wall = |seconds| Timestamp::from_second(seconds).unwrap();
    connection.pause(at(60), wall(10_000), at(100));
    assert_eq!(connection.pausing(at(159)), Some(wall(10_060)));
    assert_eq!(connection.pausing(at(160)), None);
    // The clock was put back by an hour; the next pause is told by the new time, not by the later one of both.
    connection.pause(at(60), wall(6_500), at(200));
    assert_eq!(connection.pausing(at(201)), Some(wall(6_560)));
    connection.pause(at(20), wall(6_501), at(201));
    assert_eq!(
        connection.pausing(at(201)),
        Some(wall(6_560)),
        "a shorter one cuts none short"
    );
}

#[test]
fn what_cannot_be_read_is_out_of_force_until_it_can() {
    let mut connections = Connections::default();
    let (name, _) = connections.see(object("u", "1"), false, START).unwrap();
    let held = |connections: &Connections| connections.resolve(&name, None, "guest", true).held;
    assert_eq!(held(&connections), None);
    connections.cannot_read(name.clone());
    let hold = held(&connections).unwrap();
    assert_eq!(hold.reason, ConditionReason::WaitingForConnection);
    assert!(hold.message.contains("does not fit"), "{}", hold.message);
    assert!(connections.resolve(&name, None, "guest", true).view.is_none());
    // A version that fits puts it in force again.
    assert_eq!(
        connections.see(object("u", "2"), false, START),
        Some((name.clone(), Change::Nothing))
    );
    assert_eq!(held(&connections), None);
    // So does a listing that does not name it any more.
    connections.cannot_read(name.clone());
    connections.read_anew();
    assert_eq!(held(&connections), None);
    connections.cannot_read(name.clone());
    connections.can_read(&name);
    assert_eq!(held(&connections), None);
}

/// A process that begins with an old list, or leads beside another one, meets in a newer version what it does not know.
#[test]
fn what_another_process_found_out_is_not_taken_back() {
    let told = |version: &str, proven: &str, paused_until: Option<&str>| {
        let mut object = serde_json::to_value(object("u", version)).unwrap();
        object["status"] = serde_json::json!({"conditions": [{
            "type": "RouteProven", "status": proven, "reason": "GuestRead", "message": "",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        }]});
        if let Some(until) = paused_until {
            object["status"]["rateLimit"] = serde_json::json!({"pausedUntil": until});
        }
        serde_json::from_value::<GenesysConnection>(object).unwrap()
    };
    let mut connections = Connections::default();
    let (name, _) = connections.see(object("u", "1"), false, START).unwrap();
    let news = |connections: &mut Connections, object| connections.see(object, false, START).unwrap().1;
    assert_eq!(news(&mut connections, told("2", "True", None)), Change::Learned);
    assert!(connections.get(&name).unwrap().believes_not_found());
    assert_eq!(news(&mut connections, told("3", "True", None)), Change::Nothing);
    let paused = told("4", "False", Some("1970-01-01T00:02:00Z"));
    assert_eq!(news(&mut connections, paused), Change::Learned);
    let connection = connections.get(&name).unwrap();
    assert!(connection.believes_not_found(), "nobody unlearns a proof");
    assert_eq!(connection.pausing(at(119)), Some(Timestamp::from_second(120).unwrap()));
    assert_eq!(connection.resting_until, at(120));
    let shorter = told("5", "True", Some("1970-01-01T00:01:00Z"));
    assert_eq!(news(&mut connections, shorter), Change::Nothing);
    assert_eq!(connections.get(&name).unwrap().resting_until, at(120));
}

/// What could not be written into its status holds all the same when this process leads again.
#[test]
fn a_new_term_keeps_the_pause_and_the_proof_of_the_former_one() {
    let mut connections = Connections::default();
    let (name, _) = connections.see(object("u", "1"), false, START).unwrap();
    let connection = connections.get_mut(&name).unwrap();
    connection.proven = true;
    connection.broken = Some("the vendor does not answer".to_owned());
    connection.pause(at(90), Timestamp::UNIX_EPOCH, at(10));
    let later = Reading {
        wall: Timestamp::from_second(20).unwrap(),
        monotonic: at(20),
    };
    connections.start_anew(false, later);
    let connection = connections.get(&name).unwrap();
    assert!(connection.proven);
    assert_eq!(connection.broken, None);
    assert_eq!((connection.pause_ends, connection.resting_until), (at(100), at(100)));
    assert_eq!(connection.pausing(at(99)), Some(Timestamp::from_second(90).unwrap()));
}
