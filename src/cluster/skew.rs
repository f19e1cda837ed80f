//! How far the own wall clock is from the API server's, by the `Date` of its answers (RFC 9110, 6.6.1).
//!
//! The operator compares no instants of two machines. A webhook's receiver does: Standard Webhooks refuses a signature whose
//! timestamp is more than five minutes from the receiver's time. A clock that is off delivers nothing, and each receiver
//! says no more than that it refuses.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::{HeaderMap, header::DATE};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// From here on it is told: far from what receivers refuse, and from what an answer's way and the whole seconds of a `Date`
/// can make of nothing.
const NOTABLE_SKEW: Duration = Duration::from_secs(60);

/// The last that was seen. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Skew(Arc<AtomicI64>);

impl Skew {
    /// Takes an answer in that was read at `now` of the own clock.
    pub(in crate::cluster) fn note(&self, headers: &HeaderMap, now: Timestamp) {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
            return;
        };
        let date = date.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let ahead = now.as_second() - i64::try_from(date.as_secs()).unwrap_or(i64::MAX);
        self.0.store(ahead, Ordering::Relaxed);
    }

    /// By how much the own clock is ahead of the API server's: to the second, and later than true by the way of an answer.
    pub fn ahead(&self) -> SignedDuration {
        SignedDuration::from_secs(self.0.load(Ordering::Relaxed))
    }

    /// Whether it is far enough to be told.
    pub fn is_notable(&self) -> bool {
        self.ahead().unsigned_abs() >= NOTABLE_SKEW
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;
    use crate::{
        api::GuestTermination,
        cluster::testing::{Answer, cluster},
    };

    #[rstest]
    #[case::alike("Tue, 24 Nov 2026 08:00:00 GMT", 0, false)]
    #[case::ahead("Tue, 24 Nov 2026 07:54:48 GMT", 312, true)]
    #[case::behind("Tue, 24 Nov 2026 08:01:00 GMT", -60, true)]
    #[case::slow_answer("Tue, 24 Nov 2026 07:59:55 GMT", 5, false)]
    #[case::nonsense("yesterday", 7, false)]
    fn it_is_the_difference_to_the_servers_date(#[case] date: &str, #[case] seconds: i64, #[case] notable: bool) {
        let skew = Skew::default();
        skew.0.store(7, Ordering::Relaxed);
        let headers = [(DATE, date.parse().unwrap())].into_iter().collect();
        skew.note(&headers, "2026-11-24T08:00:00Z".parse().unwrap());
        assert_eq!(skew.ahead(), SignedDuration::from_secs(seconds));
        assert_eq!(skew.is_notable(), notable);
    }

    #[tokio::test(start_paused = true)]
    async fn every_answer_tells_it_and_refusals_too() {
        for code in [200, 404] {
            let (cluster, _) = cluster(move |_| {
                Answer::status(code, "NotFound", &json!({"name": "a"}))
                    .with_header("date", "Thu, 01 Jan 1970 00:00:00 GMT")
            });
            assert!(!cluster.skew().is_notable());
            let _ = cluster.get::<GuestTermination>("care", "a").await;
            assert!(cluster.skew().is_notable(), "{code}");
        }
    }
}
