//! The instants of a status, tied to the clock that does not jump.
//!
//! A status names its instants by the wall clock, because they outlive the process. A wait that this process began by
//! itself must be neither cut short nor stretched by a wall clock that jumps. So each of them is tied to the monotonic
//! clock when this process writes it, or sees it first; and as long as the process lives, it is that moment, whatever the
//! wall clock calls it by now. `notAfter` and the deadline are no such instants: the user and the API server named them.
//!
//! When another process, or an earlier self, sent a call is not asked of its wall clock: two clocks may be apart by more
//! than a call's effect may lag. Its call left at the latest when the send window was over after the status first told of
//! it here, and before it told here that the attempt was closed. That is never early, so a look that decides an end is far
//! enough from the call, on the clock of the process that looks.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::{api::GuestTerminationStatus as Status, clock::Reading, termination::instants};

/// What a clock that is slewed is off by is no jump.
const SLEWED: SignedDuration = SignedDuration::from_secs(1);

/// Which instant of a status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    NextAttempt,
    Webhook(String),
}

/// What the instants of one status are on the monotonic clock.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    tied: BTreeMap<What, (Timestamp, SignedDuration)>,
    /// When the last own call left.
    sent: Option<Reading>,
    /// The number of attempts that the status told of.
    attempts: i32,
    /// The last attempt that is not this process's own.
    others: Option<Others>,
    /// The id of an attempt that was accepted, and when the status first told so.
    accepted: Option<(String, Reading)>,
}

/// What was seen of another process's attempt.
#[derive(Clone, Copy, Debug)]
struct Others {
    /// When it was first seen.
    first: Reading,
    /// When it was first seen to be open no longer.
    closed: Option<Reading>,
}

impl Moments {
    /// Takes in a status that is known from `now` on. What it says as before stays tied to what it was tied to. `own`: the
    /// open attempt is this process's.
    pub fn learn(&mut self, status: &Status, own: bool, now: Reading) {
        let before = std::mem::take(&mut self.tied);
        let mut status = status.clone();
        each(&mut status, |what, instant| {
            let tied = before.get(&what).filter(|(known, _)| known == instant).copied();
            self.tied.insert(what, tied.unwrap_or((*instant, now.offset())));
        });
        if self.attempts != status.attempts {
            self.attempts = status.attempts;
            if !own {
                let (first, closed) = (now, None);
                self.others = Some(Others { first, closed });
            }
        }
        let open = status.current_attempt.as_ref();
        if let Some(others) = self.others.as_mut().filter(|_| own || open.is_none()) {
            others.closed.get_or_insert(now);
        }
        let accepted = open.filter(|open| open.accepted_time.is_some());
        let known = self.accepted.take();
        self.accepted = accepted.map(|open| {
            let known = known.filter(|(id, _)| *id == open.id);
            known.unwrap_or_else(|| (open.id.clone(), now))
        });
    }

    /// The status, its instants told by the wall clock as it goes now. A call leaves within `send_window` of its intent.
    pub fn told(&self, mut status: Status, now: Reading, send_window: Duration) -> Status {
        each(&mut status, |what, instant| {
            if let Some((_, offset)) = self.tied.get(&what).filter(|(known, _)| known == instant) {
                *instant = retell(*instant, *offset, now);
            }
        });
        let tell = |then: Reading| retell(then.wall, then.offset(), now);
        let own = self.sent.map(tell);
        if let Some(open) = &mut status.current_attempt {
            if let Some(seen) = own.max(self.others.map(|others| tell(others.first))) {
                open.started_at.0 = seen;
            }
            if let (Some(time), Some((_, accepted))) = (&mut open.accepted_time, &self.accepted) {
                time.0 = tell(*accepted);
            }
        }
        let others = self.others.map(|others| {
            let left = instants::later(tell(others.first), send_window);
            others.closed.map_or(left, |closed| left.min(tell(closed)))
        });
        if let (Some(last), Some(left)) = (&mut status.last_send_time, own.max(others)) {
            *last = instants::ceiling(left);
        }
        status
    }

    /// A call of this process left then, or may have left.
    pub fn sent(&mut self, at: Reading) {
        self.sent = Some(at);
    }

    /// The same of the next try of one webhook.
    pub fn webhook(&self, name: &str, due: Timestamp, now: Reading) -> Timestamp {
        let tied = self.tied.get(&What::Webhook(name.to_owned()));
        tied.filter(|(known, _)| *known == due)
            .map_or(due, |(_, offset)| retell(due, *offset, now))
    }
}

/// An instant of a wall clock that was ahead of the monotonic one by `offset`, told by the wall clock as it goes now.
pub fn retell(instant: Timestamp, offset: SignedDuration, now: Reading) -> Timestamp {
    let jump = now.offset().saturating_sub(offset);
    if jump.abs() <= SLEWED {
        return instant;
    }
    let end = if jump.is_negative() {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    };
    instant.checked_add(jump).unwrap_or(end)
}

/// Whether the wall clock jumped between two readings.
pub fn jumped(before: Reading, now: Reading) -> bool {
    now.offset().saturating_sub(before.offset()).abs() > SLEWED
}

fn each(status: &mut Status, mut tell: impl FnMut(What, &mut Timestamp)) {
    if let Some(time) = &mut status.next_attempt_time {
        tell(What::NextAttempt, &mut time.0);
    }
    for webhook in &mut status.webhooks {
        if let Some(time) = &mut webhook.next_attempt_time {
            tell(What::Webhook(webhook.name.clone()), &mut time.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;
    use crate::api::CurrentAttempt;

    const WINDOW: Duration = Duration::from_secs(5);

    /// Seconds of the wall clock, and of the other one.
    fn reading(wall: i64, monotonic: u64) -> Reading {
        Reading {
            wall: Timestamp::from_second(wall).unwrap(),
            monotonic: Duration::from_secs(monotonic),
        }
    }

    fn status(next: i64) -> Status {
        Status {
            next_attempt_time: Some(Time(Timestamp::from_second(next).unwrap())),
            ..Status::default()
        }
    }

    fn next(status: &Status) -> i64 {
        status.next_attempt_time.as_ref().unwrap().0.as_second()
    }

    #[test]
    fn a_wait_is_as_long_as_it_was_meant_whatever_the_wall_clock_does() {
        let mut moments = Moments::default();
        moments.learn(&status(10_060), false, reading(10_000, 100));
        let told = |now| next(&moments.told(status(10_060), now, WINDOW));
        // 20 s later, 40 s are left.
        assert_eq!(told(reading(10_020, 120)), 10_060);
        assert_eq!(told(reading(10_020 - 3600, 120)), 10_020 - 3600 + 40);
        assert_eq!(told(reading(10_020 + 3600, 120)), 10_020 + 3600 + 40);
        assert_eq!(told(reading(10_021, 120)), 10_060, "that is no jump");
    }

    #[test]
    fn what_is_said_as_before_stays_tied_and_what_is_new_is_tied_anew() {
        let mut moments = Moments::default();
        moments.learn(&status(10_060), false, reading(10_000, 100));
        let later = reading(10_010 - 3600, 110);
        moments.learn(&status(10_060), false, later);
        assert_eq!(next(&moments.told(status(10_060), later, WINDOW)), 10_060 - 3600);
        moments.learn(&status(10_061), false, later);
        assert_eq!(next(&moments.told(status(10_061), later, WINDOW)), 10_061);
        moments.learn(&Status::default(), false, later);
        moments.learn(&status(10_060), false, later);
        assert_eq!(
            next(&moments.told(status(10_060), later, WINDOW)),
            10_060,
            "nothing is kept of what is gone"
        );
    }

    /// So many attempts were made, and the last one is open or closed.
    fn called(attempts: i32, open: bool) -> Status {
        let last = Time(Timestamp::from_second(10_000).unwrap());
        let attempt = CurrentAttempt {
            id: attempts.to_string(),
            number: attempts,
            holder: "somebody".to_owned(),
            started_at: last.clone(),
            accepted_time: None,
            rest: Default::default(),
        };
        Status {
            attempts,
            current_attempt: open.then_some(attempt),
            last_send_time: Some(last),
            ..Status::default()
        }
    }

    /// When the last call is told to have left.
    fn last(moments: &Moments, status: Status, now: Reading) -> i64 {
        let told = moments.told(status, now, WINDOW);
        told.last_send_time.unwrap().0.as_second()
    }

    #[test]
    fn an_own_call_left_when_it_left_also_after_the_clock_was_put_back() {
        let mut moments = Moments::default();
        moments.learn(&called(1, true), true, reading(9_999, 99));
        moments.sent(reading(10_000, 100));
        moments.learn(&called(1, false), false, reading(10_001, 101));
        assert_eq!(last(&moments, called(1, false), reading(10_002, 102)), 10_000);
        // The clock is put back by an hour, and ten minutes later another call leaves. The status keeps the latest.
        moments.learn(&called(2, true), true, reading(10_599 - 3600, 699));
        moments.sent(reading(10_600 - 3600, 700));
        moments.learn(&called(2, false), false, reading(10_610 - 3600, 710));
        let now = reading(10_620 - 3600, 720);
        assert_eq!(last(&moments, called(2, false), now), 10_600 - 3600);
        // An own attempt whose call does not leave changes nothing of that.
        moments.learn(&called(3, true), true, reading(10_620 - 3600, 720));
        moments.learn(&called(3, false), false, reading(10_621 - 3600, 721));
        assert_eq!(last(&moments, called(3, false), now), 10_600 - 3600);
    }

    #[test]
    fn another_s_call_left_in_its_window_after_it_was_first_told_of_and_before_it_was_closed() {
        let mut moments = Moments::default();
        moments.sent(reading(10_000, 100));
        moments.learn(&called(1, true), true, reading(10_000, 100));
        moments.learn(&called(1, false), false, reading(10_001, 101));
        moments.learn(&called(2, true), false, reading(10_300, 400));
        let now = reading(10_400, 500);
        assert_eq!(last(&moments, called(2, true), now), 10_305);
        // Told of again, and closed late: nothing new.
        moments.learn(&called(2, true), false, reading(10_310, 410));
        moments.learn(&called(2, false), false, reading(10_320, 420));
        moments.learn(&called(2, false), false, reading(10_330, 430));
        assert_eq!(last(&moments, called(2, false), now), 10_305);
        // Closed at once; and one that was closed when it was first seen.
        moments.learn(&called(3, true), false, reading(10_340, 440));
        moments.learn(&called(3, false), false, reading(10_342, 442));
        assert_eq!(last(&moments, called(3, false), now), 10_342);
        moments.learn(&called(4, false), false, reading(10_350, 450));
        assert_eq!(last(&moments, called(4, false), now), 10_350);
        // The own one that comes after it when it left.
        moments.learn(&called(5, true), true, reading(10_360, 460));
        moments.sent(reading(10_361, 461));
        assert_eq!(last(&moments, called(5, true), now), 10_361);
    }

    #[test]
    fn an_attempt_is_accepted_when_the_status_first_tells_so() {
        let accepted = |attempts: i32| {
            let mut status = called(attempts, true);
            let open = status.current_attempt.as_mut().unwrap();
            open.accepted_time = Some(open.started_at.clone());
            status
        };
        let told = |moments: &Moments, status| {
            let told = moments.told(status, reading(20_000, 500), WINDOW);
            told.current_attempt.unwrap().accepted_time.unwrap().0.as_second()
        };
        let mut moments = Moments::default();
        moments.learn(&called(1, true), false, reading(20_000 - 200, 300));
        moments.learn(&accepted(1), false, reading(20_000 - 190, 310));
        moments.learn(&accepted(1), false, reading(20_000 - 180, 320));
        assert_eq!(told(&moments, accepted(1)), 20_000 - 190);
        moments.learn(&called(1, false), false, reading(20_000 - 170, 330));
        moments.learn(&accepted(2), false, reading(20_000 - 160, 340));
        assert_eq!(told(&moments, accepted(2)), 20_000 - 160);
    }

    #[test]
    fn what_was_never_learnt_is_taken_at_its_word() {
        let moments = Moments::default();
        assert_eq!(next(&moments.told(status(10_060), reading(5, 5), WINDOW)), 10_060);
        let due = Timestamp::from_second(10_060).unwrap();
        assert_eq!(moments.webhook("analytics", due, reading(5, 5)), due);
    }
}
