//! The instants of a status, tied to the clock that does not jump.
//!
//! A status names its instants by the wall clock, because they outlive the process. A wait that this process began by
//! itself must be neither cut short nor stretched by a wall clock that jumps. So each of them is tied to the monotonic
//! clock when this process writes it, or sees it first; and as long as the process lives, it is that moment, whatever the
//! wall clock calls it by now. `notAfter` and the deadline are no such instants: the user and the API server named them.
//!
//! What another process, or an earlier self, did is not dated by its wall clock at all: two clocks may be apart by more than
//! a call's effect may lag. It counts as done when the status first told of it here; never early, so a look that decides
//! is far enough from the call, on the clock of the process that looks.

use std::collections::BTreeMap;

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
    /// What the status says of calls, and since when it has said so here.
    calls: Option<(Calls, Reading)>,
    /// The number of the last own attempt whose call left, and when it left.
    sent: Option<(i32, Reading)>,
}

/// What a status says of its calls: no call leaves without a change of it, before or after.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Calls {
    attempts: i32,
    open: Option<(String, bool)>,
    last_send: Option<Timestamp>,
}

impl Calls {
    fn of(status: &Status) -> Self {
        let open = status.current_attempt.as_ref();
        Self {
            attempts: status.attempts,
            open: open.map(|open| (open.id.clone(), open.accepted_time.is_some())),
            last_send: status.last_send_time.as_ref().map(|time| time.0),
        }
    }
}

impl Moments {
    /// Takes in a status that is known from `now` on. What it says as before stays tied to what it was tied to.
    pub fn learn(&mut self, status: &Status, now: Reading) {
        let before = std::mem::take(&mut self.tied);
        let mut status = status.clone();
        each(&mut status, |what, instant| {
            let tied = before.get(&what).filter(|(known, _)| known == instant).copied();
            self.tied.insert(what, tied.unwrap_or((*instant, now.offset())));
        });
        let calls = Calls::of(&status);
        if self.calls.as_ref().is_none_or(|(known, _)| *known != calls) {
            self.calls = Some((calls, now));
        }
    }

    /// The status, its instants told by the wall clock as it goes now.
    pub fn told(&self, mut status: Status, now: Reading) -> Status {
        each(&mut status, |what, instant| {
            if let Some((_, offset)) = self.tied.get(&what).filter(|(known, _)| known == instant) {
                *instant = retell(*instant, *offset, now);
            }
        });
        let known = self.calls.as_ref().filter(|(calls, _)| *calls == Calls::of(&status));
        let Some(since) = known.map(|(_, since)| *since) else {
            return status;
        };
        let told = |then: Reading| retell(then.wall, then.offset(), now);
        let own = self.sent.filter(|(number, _)| *number == status.attempts);
        if let Some(last) = &mut status.last_send_time {
            *last = instants::ceiling(told(own.map_or(since, |(_, sent)| sent)));
        }
        if let Some(open) = &mut status.current_attempt {
            open.started_at.0 = told(since);
            if let Some(accepted) = &mut open.accepted_time {
                accepted.0 = told(since);
            }
        }
        status
    }

    /// The call of this own attempt left then.
    pub fn sent(&mut self, attempt: i32, at: Reading) {
        self.sent = Some((attempt, at));
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
    use std::time::Duration;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

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
        moments.learn(&status(10_060), reading(10_000, 100));
        let told = |now| next(&moments.told(status(10_060), now));
        // 20 s later, 40 s are left.
        assert_eq!(told(reading(10_020, 120)), 10_060);
        assert_eq!(told(reading(10_020 - 3600, 120)), 10_020 - 3600 + 40);
        assert_eq!(told(reading(10_020 + 3600, 120)), 10_020 + 3600 + 40);
        assert_eq!(told(reading(10_021, 120)), 10_060, "that is no jump");
    }

    #[test]
    fn what_is_said_as_before_stays_tied_and_what_is_new_is_tied_anew() {
        let mut moments = Moments::default();
        moments.learn(&status(10_060), reading(10_000, 100));
        let later = reading(10_010 - 3600, 110);
        moments.learn(&status(10_060), later);
        assert_eq!(next(&moments.told(status(10_060), later)), 10_060 - 3600);
        moments.learn(&status(10_061), later);
        assert_eq!(next(&moments.told(status(10_061), later)), 10_061);
        moments.learn(&Status::default(), later);
        moments.learn(&status(10_060), later);
        assert_eq!(
            next(&moments.told(status(10_060), later)),
            10_060,
            "nothing is kept of what is gone"
        );
    }

    fn called(attempts: i32, last: i64) -> Status {
        Status {
            attempts,
            last_send_time: Some(Time(Timestamp::from_second(last).unwrap())),
            ..Status::default()
        }
    }

    #[test]
    fn the_last_call_is_the_last_also_after_the_clock_was_put_back() {
        let mut moments = Moments::default();
        moments.sent(1, reading(10_000, 100));
        moments.learn(&called(1, 10_000), reading(10_001, 101));
        // The clock is put back by an hour, and ten minutes later another call leaves. The status keeps the latest.
        moments.sent(2, reading(10_600 - 3600, 700));
        moments.learn(&called(2, 10_000), reading(10_601 - 3600, 701));
        let told = moments.told(called(2, 10_000), reading(10_602 - 3600, 702));
        assert_eq!(told.last_send_time.unwrap().0.as_second(), 10_600 - 3600);
    }

    #[test]
    fn another_s_call_after_the_own_one_left_when_it_was_first_told_of() {
        let mut moments = Moments::default();
        moments.sent(1, reading(10_000, 100));
        moments.learn(&called(1, 10_000), reading(10_001, 101));
        moments.learn(&called(2, 10_000), reading(10_300, 400));
        let told = |moments: &Moments, status| moments.told(status, reading(10_400, 500)).last_send_time;
        assert_eq!(told(&moments, called(2, 10_000)).unwrap().0.as_second(), 10_300);
        // And the own one that comes after it when it left.
        moments.sent(3, reading(10_350, 450));
        moments.learn(&called(3, 10_350), reading(10_355, 455));
        assert_eq!(told(&moments, called(3, 10_350)).unwrap().0.as_second(), 10_350);
    }

    #[test]
    fn what_was_never_learnt_is_taken_at_its_word() {
        let moments = Moments::default();
        assert_eq!(next(&moments.told(status(10_060), reading(5, 5))), 10_060);
        let due = Timestamp::from_second(10_060).unwrap();
        assert_eq!(moments.webhook("analytics", due, reading(5, 5)), due);
    }
}
