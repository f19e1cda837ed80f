use k8s_openapi::jiff::Timestamp;

use super::*;

mod world;

const START: i64 = 1_700_000_000;

fn at(millis: u64) -> Reading {
    Reading {
        monotonic: Duration::from_millis(millis),
        wall: Timestamp::from_millisecond(START * 1000 + i64::try_from(millis).unwrap()).unwrap(),
    }
}

/// The same moment, by a wall clock that was set.
fn set(millis: u64, by: i64) -> Reading {
    Reading {
        wall: Timestamp::from_second(at(millis).wall.as_second() + by).unwrap(),
        ..at(millis)
    }
}

fn elector(identity: &str) -> Elector {
    Elector::new(
        Spans::default(),
        identity.to_owned(),
        "system".to_owned(),
        "operator".to_owned(),
    )
}

/// The Lease as the server gives it back.
fn stored(lease: Lease, version: u64) -> Box<Lease> {
    let mut lease = Box::new(lease);
    lease.metadata.uid = Some("uid".to_owned());
    lease.metadata.resource_version = Some(version.to_string());
    lease
}

/// A Lease that another process holds.
fn theirs(version: u64) -> Box<Lease> {
    let mut other = elector("other/1");
    other.read(Found::Absent, at(0), 0.0);
    let Step::Create(lease) = other.next(at(0)) else {
        panic!("no first Lease");
    };
    stored(lease, version)
}

/// A process that leads since 0, whose Lease has version 1.
fn leader() -> Elector {
    let mut elector = elector("me/1");
    assert_eq!(elector.next(at(0)), Step::Read);
    elector.read(Found::Absent, at(0), 0.0);
    let Step::Create(lease) = elector.next(at(0)) else {
        panic!("no first Lease");
    };
    assert_eq!(elector.lead(at(0)), None);
    elector.wrote(Written::Stored(stored(lease, 1)), at(0), at(100), 0.0);
    elector
}

fn spec(step: &Step) -> LeaseSpec {
    match step {
        Step::Create(lease) | Step::Replace(lease) => lease.spec.clone().unwrap(),
        other => panic!("not a write: {other:?}"),
    }
}

#[test]
fn the_first_one_leads_and_renews_with_the_version_it_saw() {
    let mut elector = leader();
    assert_eq!(elector.lead(at(100)).unwrap().term, 1);
    assert_eq!(elector.holder(), "me/1");
    assert_eq!(elector.next(at(100)), Step::Wait(Duration::from_secs(2)));
    let renewal = elector.next(at(2_100));
    let Step::Replace(lease) = &renewal else {
        panic!("{renewal:?}");
    };
    assert_eq!(lease.metadata.resource_version.as_deref(), Some("1"));
    let spec = spec(&renewal);
    assert_eq!(spec.holder_identity.as_deref(), Some("me/1"));
    assert_eq!(
        (spec.lease_duration_seconds, spec.lease_transitions),
        (Some(15), Some(0))
    );
    assert_eq!(spec.acquire_time, Some(MicroTime(at(0).wall)));
    assert_eq!(spec.renew_time, Some(MicroTime(at(2_100).wall)));
    elector.wrote(Written::Stored(stored(lease.clone(), 2)), at(2_100), at(2_200), 0.0);
    assert_eq!(elector.lead(at(12_099)).unwrap().term, 1, "the same term goes on");
    assert_eq!(elector.lead(at(12_100)), None);
}

#[test]
fn the_first_lease_is_whole() {
    let mut elector = elector("me/1");
    elector.read(Found::Absent, at(0), 0.0);
    let step = elector.next(at(0));
    let Step::Create(lease) = &step else {
        panic!("{step:?}");
    };
    let metadata = ObjectMeta {
        namespace: Some("system".to_owned()),
        name: Some("operator".to_owned()),
        ..ObjectMeta::default()
    };
    assert_eq!(lease.metadata, metadata);
    let instant = Some(MicroTime(at(0).wall));
    let spec_of_mine = LeaseSpec {
        holder_identity: Some("me/1".to_owned()),
        lease_duration_seconds: Some(15),
        acquire_time: instant.clone(),
        renew_time: instant,
        lease_transitions: Some(0),
        ..LeaseSpec::default()
    };
    assert_eq!(spec(&step), spec_of_mine);
}

#[test]
fn who_resigns_reads_and_leads_as_another_term() {
    let mut elector = leader();
    elector.resign();
    assert_eq!(elector.lead(at(100)), None);
    assert_eq!(elector.next(at(100)), Step::Read);
    let lease = elector.lease().cloned().unwrap();
    elector.read(Found::Lease(Box::new(lease.clone())), at(100), 0.0);
    assert!(matches!(elector.next(at(100)), Step::Replace(_)));
    elector.wrote(Written::Stored(stored(lease, 2)), at(100), at(200), 0.0);
    assert_eq!(elector.lead(at(200)).unwrap().term, 2);
}

#[test]
fn the_lead_counts_from_the_begin_of_the_write_and_ends_by_either_clock() {
    let elector = leader();
    assert!(elector.lead(at(9_999)).is_some());
    assert_eq!(elector.lead(at(10_000)), None);
    assert_eq!(elector.lead(set(5_000, 3_600)), None, "the machine slept");
    assert!(elector.lead(set(5_000, 4)).is_some());
    assert_eq!(elector.lead(set(5_000, 5)), None, "to the second");
    assert!(
        elector.lead(set(9_999, -3_600)).is_some(),
        "a clock that was set back ends nothing"
    );
    assert_eq!(
        elector.lead(set(10_000, -3_600)),
        None,
        "a clock that was set back prolongs nothing"
    );
}

#[test]
fn an_answer_that_comes_after_the_deadline_gives_no_lead() {
    let mut elector = elector("me/1");
    elector.read(Found::Absent, at(0), 0.0);
    let Step::Create(lease) = elector.next(at(0)) else {
        panic!("no first Lease");
    };
    elector.wrote(Written::Stored(stored(lease, 1)), at(0), at(10_000), 0.0);
    assert_eq!(elector.lead(at(10_000)), None);
    // It still holds the Lease, and takes it up again at once, as another term.
    assert_eq!(elector.next(at(10_000)), Step::Read);
}

#[test]
fn a_lease_is_left_alone_for_its_duration_after_every_change() {
    let mut elector = elector("me/1");
    assert_eq!(elector.next(at(0)), Step::Read);
    elector.read(Found::Lease(theirs(1)), at(0), 0.0);
    assert_eq!(elector.next(at(0)), Step::Wait(Duration::from_millis(500)));
    assert_eq!(elector.next(at(500)), Step::Read);
    elector.read(Found::Lease(theirs(1)), at(14_000), 0.0);
    elector.read(Found::Lease(theirs(2)), at(14_500), 0.0);
    elector.read(Found::Lease(theirs(2)), at(29_400), 0.0);
    assert_eq!(
        elector.next(at(29_400)),
        Step::Wait(Duration::from_millis(100)),
        "not later than it may be taken"
    );
    assert_eq!(elector.next(at(29_500)), Step::Read);
    elector.read(Found::Lease(theirs(2)), at(29_501), 0.0);
    let step = elector.next(at(29_501));
    let spec = spec(&step);
    assert_eq!(spec.holder_identity.as_deref(), Some("me/1"));
    assert_eq!(spec.lease_transitions, Some(1));
    assert_eq!(spec.acquire_time, Some(MicroTime(at(29_501).wall)));
    assert_eq!(elector.lead(at(29_501)), None, "not before the write is answered");
}

#[test]
fn the_instants_of_others_are_not_compared_with_the_own_clock() {
    let mut elector = elector("me/1");
    // Renewed an hour ago, says the other machine; just seen, says this one.
    elector.read(Found::Lease(theirs(1)), set(0, 3_600), 0.0);
    assert!(matches!(elector.next(set(0, 3_600)), Step::Wait(_)));
}

#[test]
fn the_holders_own_word_on_the_duration_counts() {
    let mut lease = theirs(1);
    lease.spec.as_mut().unwrap().lease_duration_seconds = Some(40);
    let mut elector = elector("me/1");
    elector.read(Found::Lease(lease.clone()), at(0), 0.0);
    elector.read(Found::Lease(lease.clone()), at(39_999), 0.0);
    assert!(matches!(elector.next(at(39_999)), Step::Wait(_)));
    elector.read(Found::Lease(lease), at(40_000), 0.0);
    assert!(matches!(elector.next(at(40_000)), Step::Replace(_)));
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let holder = leader();
    let released = holder.release(at(5_000)).unwrap();
    let spec_of_release = released.spec.clone().unwrap();
    assert_eq!(
        spec_of_release.holder_identity.as_deref(),
        Some(""),
        "as client-go's ReleaseOnCancel leaves it"
    );
    assert_eq!(spec_of_release.lease_duration_seconds, Some(1));
    let instant = Some(MicroTime(at(5_000).wall));
    assert_eq!(
        (&spec_of_release.acquire_time, &spec_of_release.renew_time),
        (&instant, &instant)
    );
    assert_eq!(released.metadata.resource_version.as_deref(), Some("1"));
    let mut other = elector("other/1");
    other.read(Found::Lease(stored(released, 2)), at(5_100), 0.0);
    assert_eq!(spec(&other.next(at(5_100))).lease_transitions, Some(1));
    assert_eq!(other.release(at(5_100)), None, "who does not hold it releases nothing");
}

#[test]
fn who_is_overtaken_reads_and_waits() {
    let mut elector = leader();
    let began = at(2_100);
    assert!(matches!(elector.next(began), Step::Replace(_)));
    elector.wrote(Written::Overtaken, began, at(2_200), 0.0);
    assert!(elector.lead(at(2_200)).is_some(), "it may have been an own write");
    assert_eq!(elector.next(at(2_200)), Step::Wait(Duration::from_millis(500)));
    assert_eq!(elector.next(at(2_700)), Step::Read);
    elector.read(Found::Lease(theirs(3)), at(2_800), 0.0);
    assert_eq!(elector.lead(at(2_800)), None);
    assert!(matches!(elector.next(at(2_800)), Step::Wait(_)));
}

#[test]
fn a_renewal_whose_answer_was_lost_is_found_and_goes_on() {
    let mut elector = leader();
    let Step::Replace(lease) = elector.next(at(2_100)) else {
        panic!("no renewal");
    };
    elector.wrote(Written::Failed, at(2_100), at(7_100), 0.0);
    assert_eq!(elector.next(at(7_100)), Step::Wait(Duration::from_secs(2)));
    assert_eq!(elector.next(at(9_100)), Step::Read);
    elector.read(Found::Lease(stored(lease, 2)), at(9_200), 0.0);
    let again = elector.next(at(9_200));
    let Step::Replace(lease) = &again else {
        panic!("{again:?}");
    };
    assert_eq!(lease.metadata.resource_version.as_deref(), Some("2"));
    elector.wrote(Written::Stored(stored(lease.clone(), 3)), at(9_200), at(9_300), 0.0);
    assert_eq!(elector.lead(at(9_300)).unwrap().term, 1);
}

#[test]
fn without_answers_it_steps_down_in_time_and_comes_back_as_another_term() {
    let mut elector = leader();
    let mut now = 2_100;
    while elector.lead(at(now)).is_some() {
        match elector.next(at(now)) {
            Step::Wait(pause) => now += u64::try_from(pause.as_millis()).unwrap().max(1),
            Step::Read => elector.read(Found::Failed, at(now), 0.0),
            _ => {
                let patience = elector.patience(at(now));
                assert!(at(now).monotonic + patience <= Duration::from_secs(10));
                let began = now;
                now += u64::try_from(patience.as_millis()).unwrap();
                elector.wrote(Written::Failed, at(began), at(now), 0.0);
            }
        }
    }
    assert_eq!(now, 10_000);
    assert_eq!(elector.next(at(now)), Step::Read);
    let lease = elector.release(at(0)).map(|_| leader().known).unwrap();
    let Known::Lease { lease, .. } = lease else {
        panic!("no Lease");
    };
    elector.read(Found::Lease(lease.clone()), at(60_000), 0.0);
    assert!(matches!(elector.next(at(60_000)), Step::Replace(_)));
    elector.wrote(Written::Stored(stored(*lease, 2)), at(60_000), at(60_100), 0.0);
    assert_eq!(elector.lead(at(60_100)).unwrap().term, 2);
}

#[test]
fn a_read_that_failed_is_made_again_after_a_pause() {
    let mut elector = elector("me/1");
    elector.read(Found::Failed, at(0), 0.0);
    assert_eq!(elector.next(at(0)), Step::Wait(Duration::from_secs(2)));
    assert_eq!(elector.next(at(2_000)), Step::Read);
}

#[test]
fn two_requests_fit_into_a_lead_and_none_outlasts_it() {
    let seconds = |seconds| Duration::from_secs(seconds);
    assert_eq!(elector("me/1").patience(at(0)), seconds(5));
    let leader = leader();
    assert_eq!(leader.patience(at(5_000)), seconds(5));
    assert_eq!(leader.patience(at(8_000)), seconds(2));
    assert_eq!(leader.patience(at(10_000)), seconds(5), "it leads no more");
}

#[test]
fn a_lease_that_was_deleted_is_made_anew_by_its_holder_first() {
    let mut holder = leader();
    holder.read(Found::Absent, at(3_000), 0.0);
    assert!(matches!(holder.next(at(3_000)), Step::Create(_)));

    let mut other = elector("other/1");
    other.read(Found::Lease(theirs(1)), at(0), 0.0);
    other.read(Found::Absent, at(3_000), 0.0);
    assert!(matches!(other.next(at(3_000)), Step::Wait(_)), "its holder may lead");
    other.read(Found::Absent, at(17_999), 0.0);
    assert!(matches!(other.next(at(17_999)), Step::Wait(_)));
    other.read(Found::Absent, at(18_000), 0.0);
    assert!(matches!(other.next(at(18_000)), Step::Create(_)));
}

#[test]
fn a_lease_without_a_spec_is_nobodys() {
    let mut elector = elector("me/1");
    let mut lease = theirs(1);
    lease.spec = None;
    elector.read(Found::Lease(lease), at(0), 0.0);
    assert_eq!(spec(&elector.next(at(0))).holder_identity.as_deref(), Some("me/1"));
}

#[test]
fn others_keep_what_they_wrote_on_the_lease() {
    let mut lease = theirs(1);
    lease.metadata.labels = Some([("team".to_owned(), "care".to_owned())].into());
    lease.spec.as_mut().unwrap().holder_identity = None;
    let mut elector = elector("me/1");
    elector.read(Found::Lease(lease.clone()), at(0), 0.0);
    let Step::Replace(claimed) = elector.next(at(0)) else {
        panic!("not taken");
    };
    assert_eq!(claimed.metadata, lease.metadata);
}
