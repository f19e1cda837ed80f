//! The instants of a status, tied to the clock that does not jump.
//!
//! A status names its instants by the wall clock, because they outlive the process. A wait that this process began by
//! itself must be neither cut short nor stretched by a wall clock that jumps. So each of them is tied to the monotonic
//! clock when this process writes it, or sees it first; and as long as the process lives, it is that moment, whatever the
//! wall clock calls it by now. `notAfter` and the deadline are no such instants: the user and the API server named them.

use std::collections::BTreeMap;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::{api::GuestTerminationStatus as Status, clock::Reading};

/// What a clock that is slewed is off by is no jump.
const SLEWED: SignedDuration = SignedDuration::from_secs(1);

/// Which instant of a status.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    NextAttempt,
    LastSend,
    Started,
    Accepted,
    Webhook(String),
}

/// What the instants of one status are on the monotonic clock.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    tied: BTreeMap<What, (Timestamp, SignedDuration)>,
    /// When the last own call left. A status keeps the latest instant, and after the clock was put back that is not the
    /// last one's.
    sent: Option<Reading>,
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
    }

    /// The status, its instants told by the wall clock as it goes now.
    pub fn told(&self, mut status: Status, now: Reading) -> Status {
        each(&mut status, |what, instant| {
            if let Some((_, offset)) = self.tied.get(&what).filter(|(known, _)| known == instant) {
                *instant = retell(*instant, *offset, now);
            }
        });
        if let (Some(last), Some(sent)) = (&mut status.last_send_time, self.sent) {
            last.0 = last.0.max(retell(sent.wall, sent.offset(), now));
        }
        status
    }

    /// A call of this process left then.
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
    if let Some(time) = &mut status.last_send_time {
        tell(What::LastSend, &mut time.0);
    }
    if let Some(open) = &mut status.current_attempt {
        tell(What::Started, &mut open.started_at.0);
        if let Some(time) = &mut open.accepted_time {
            tell(What::Accepted, &mut time.0);
        }
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

    #[test]
    fn the_last_call_is_the_last_also_after_the_clock_was_put_back() {
        let sent = |wall| Status {
            last_send_time: Some(Time(Timestamp::from_second(wall).unwrap())),
            ..Status::default()
        };
        let mut moments = Moments::default();
        moments.sent(reading(10_000, 100));
        moments.learn(&sent(10_000), reading(10_001, 101));
        // The clock is put back by an hour, and ten minutes later another call leaves. The status keeps the latest.
        moments.sent(reading(10_600 - 3600, 700));
        moments.learn(&sent(10_000), reading(10_601 - 3600, 701));
        let told = moments.told(sent(10_000), reading(10_602 - 3600, 702));
        assert_eq!(told.last_send_time.unwrap().0.as_second(), 10_600 - 3600);
    }

    #[test]
    fn what_was_never_learnt_is_taken_at_its_word() {
        let moments = Moments::default();
        assert_eq!(next(&moments.told(status(10_060), reading(5, 5))), 10_060);
        let due = Timestamp::from_second(10_060).unwrap();
        assert_eq!(moments.webhook("analytics", due, reading(5, 5)), due);
    }
}
