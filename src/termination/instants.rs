//! Instants of a status: whole seconds, never early.

use std::time::Duration;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::{SignedDuration, Timestamp},
};

/// The instant rounded up to the second, as a status stores it: what must not happen before it does not happen early.
pub fn ceiling(instant: Timestamp) -> Time {
    let floor = Timestamp::from_second(instant.as_second()).unwrap_or(instant);
    Time(if floor < instant {
        later(floor, Duration::from_secs(1))
    } else {
        floor
    })
}

/// The instant cut to the second, as a status stores it: a record of what was.
pub fn floor(instant: Timestamp) -> Time {
    let whole = if instant.subsec_nanosecond() < 0 {
        instant.as_second() - 1
    } else {
        instant.as_second()
    };
    Time(Timestamp::from_second(whole).unwrap_or(instant))
}

/// The instant `span` later, or the last one that can be told.
pub fn later(instant: Timestamp, span: Duration) -> Timestamp {
    SignedDuration::try_from(span)
        .ok()
        .and_then(|span| instant.checked_add(span).ok())
        .unwrap_or(Timestamp::MAX)
}

/// The time between two instants; zero if `to` is not after `from`.
pub fn between(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_be_early_is_rounded_up() {
        let instant = Timestamp::from_millisecond(1_500).unwrap();
        assert_eq!(ceiling(instant).0, Timestamp::from_second(2).unwrap());
        assert_eq!(floor(instant).0, Timestamp::from_second(1).unwrap());
        let whole = Timestamp::from_second(2).unwrap();
        assert_eq!(ceiling(whole).0, whole);
        assert_eq!(
            ceiling(Timestamp::from_millisecond(-1_500).unwrap()).0,
            Timestamp::from_second(-1).unwrap()
        );
        assert_eq!(
            floor(Timestamp::from_millisecond(-1_500).unwrap()).0,
            Timestamp::from_second(-2).unwrap()
        );
    }

    #[test]
    fn sums_saturate() {
        assert_eq!(later(Timestamp::MAX, Duration::from_secs(1)), Timestamp::MAX);
        assert_eq!(
            between(Timestamp::from_second(5).unwrap(), Timestamp::from_second(3).unwrap()),
            Duration::ZERO
        );
    }
}
