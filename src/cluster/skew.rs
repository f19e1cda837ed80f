//! How far the own wall clock is from the API server's, by the `Date` of its answers (RFC 9110, 6.6.1).
//!
//! Two things suffer from a clock that is off. A webhook's receiver refuses a signature whose timestamp is more than five
//! minutes from its own time (Standard Webhooks), and says no more than that it refuses. And what users named as instants,
//! the deadline and `notAfter`, comes too early or too late.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::{HeaderMap, header::DATE};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// From here on it is told, well before receivers refuse.
const NOTABLE: Duration = Duration::from_secs(60);
/// Below this it is told to be over.
const OVER: Duration = Duration::from_secs(45);
/// An answer that took longer says nothing: nobody knows when on its way its `Date` was set.
const PROMPT: Duration = Duration::from_secs(5);

/// The last that was seen. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Skew(Arc<AtomicI64>);

impl Skew {
    /// Takes an answer in that was read at `now` of the own clock, so long after it was asked for.
    pub(in crate::cluster) fn note(&self, headers: &HeaderMap, now: Timestamp, took: Duration) {
        if took > PROMPT {
            return;
        }
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
            return;
        };
        let date = date.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let ahead = now.as_second() - i64::try_from(date.as_secs()).unwrap_or(i64::MAX);
        self.0.store(ahead, Ordering::Relaxed);
    }

    /// By how much the own clock is ahead of the API server's, to the second or two.
    pub fn ahead(&self) -> SignedDuration {
        SignedDuration::from_secs(self.0.load(Ordering::Relaxed))
    }

    /// Whether it is far enough to be told. `told`: it was told already, and then it must be clearly less to be over.
    pub fn is_notable(&self, told: bool) -> bool {
        self.ahead().unsigned_abs() >= if told { OVER } else { NOTABLE }
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
        skew.note(&headers, "2026-11-24T08:00:00Z".parse().unwrap(), PROMPT);
        assert_eq!(skew.ahead(), SignedDuration::from_secs(seconds));
        assert_eq!(skew.is_notable(false), notable);
    }

    #[test]
    fn an_answer_that_took_long_says_nothing_and_a_small_change_is_no_end() {
        let skew = Skew::default();
        let headers = [(DATE, "Tue, 24 Nov 2026 07:59:00 GMT".parse().unwrap())]
            .into_iter()
            .collect();
        let note = |now: &str, took| skew.note(&headers, now.parse().unwrap(), took);
        note("2026-11-24T08:00:00Z", PROMPT + Duration::from_millis(1));
        assert_eq!(skew.ahead(), SignedDuration::ZERO);
        note("2026-11-24T07:59:50Z", PROMPT);
        assert!(!skew.is_notable(false) && skew.is_notable(true));
        note("2026-11-24T07:59:44Z", PROMPT);
        assert!(!skew.is_notable(true));
    }

    #[tokio::test(start_paused = true)]
    async fn every_answer_tells_it_and_refusals_too() {
        for code in [200, 404] {
            let (cluster, _) = cluster(move |_| {
                Answer::status(code, "NotFound", &json!({"name": "a"}))
                    .with_header("date", "Thu, 01 Jan 1970 00:00:00 GMT")
            });
            assert!(!cluster.skew().is_notable(false));
            let _ = cluster.get::<GuestTermination>("care", "a").await;
            assert!(cluster.skew().is_notable(false), "{code}");
        }
    }
}
