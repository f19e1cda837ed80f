//! `Retry-After` (RFC 9110, 10.2.3).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};

/// The longest pause that is kept, and the longest that can be meant: what lies beyond is no number of seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(48 * 60 * 60);
const LONGEST_MEANT: u64 = 366 * 24 * 60 * 60;

/// `Retry-After`: seconds, or a date relative to the answer's own `Date` (`received_at` stands in where there is none).
///
/// Between 0 and 48 h; a date that has passed is 0. What is no number of seconds and no date is as good as absent.
pub(super) fn retry_after(headers: &HeaderMap, received_at: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let span = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let seconds = text.parse().ok().filter(|seconds| *seconds <= LONGEST_MEANT)?;
        Duration::from_secs(seconds)
    } else {
        let until = httpdate::parse_http_date(text).ok()?;
        let own = headers.get(header::DATE).and_then(|date| date.to_str().ok());
        let since = own
            .and_then(|date| httpdate::parse_http_date(date).ok())
            .unwrap_or(received_at);
        until.duration_since(since).unwrap_or_default()
    };
    Some(span.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn parsed(value: &str, date: Option<&str>) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(header::RETRY_AFTER, value.parse().unwrap());
        if let Some(date) = date {
            headers.insert(header::DATE, date.parse().unwrap());
        }
        // Tue, 24 Nov 2026 12:00:00 GMT.
        retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_521_600))
    }

    #[rstest]
    #[case("0", Some(0))]
    #[case("7", Some(7))]
    #[case(" 7 ", Some(7))]
    #[case("172800", Some(172_800))]
    #[case("172801", Some(172_800))]
    #[case("31622400", Some(172_800))]
    #[case("31622401", None)]
    #[case("1000000000000000000", None)]
    #[case("99999999999999999999999", None)]
    #[case("-1", None)]
    #[case("+1", None)]
    #[case("1.5", None)]
    #[case("soon", None)]
    #[case("", None)]
    fn seconds(#[case] value: &str, #[case] expected: Option<u64>) {
        assert_eq!(parsed(value, None), expected.map(Duration::from_secs));
    }

    #[rstest]
    // The three forms of an HTTP date.
    #[case("Tue, 24 Nov 2026 12:01:40 GMT", Some("Tue, 24 Nov 2026 12:00:00 GMT"), Some(100))]
    #[case("Tuesday, 24-Nov-26 12:01:40 GMT", Some("Tue, 24 Nov 2026 12:00:00 GMT"), Some(100))]
    #[case("Tue Nov 24 12:01:40 2026", Some("Tue, 24 Nov 2026 12:00:00 GMT"), Some(100))]
    // A server whose clock is an hour off means the same span.
    #[case("Tue, 24 Nov 2026 13:01:40 GMT", Some("Tue, 24 Nov 2026 13:00:00 GMT"), Some(100))]
    #[case("Tue, 24 Nov 2026 11:59:00 GMT", Some("Tue, 24 Nov 2026 12:00:00 GMT"), Some(0))]
    #[case(
        "Fri, 31 Dec 9999 23:59:59 GMT",
        Some("Tue, 24 Nov 2026 12:00:00 GMT"),
        Some(172_800)
    )]
    // Without a date of its own, ours.
    #[case("Tue, 24 Nov 2026 12:01:40 GMT", None, Some(100))]
    #[case("Tue, 24 Nov 2026 12:01:40 GMT", Some("yesterday"), Some(100))]
    #[case("Tue, 99 Nov 2026 12:01:40 GMT", None, None)]
    fn dates(#[case] value: &str, #[case] date: Option<&str>, #[case] expected: Option<u64>) {
        assert_eq!(parsed(value, date), expected.map(Duration::from_secs));
    }

    proptest! {
        #[test]
        fn anything_is_a_bounded_span_or_nothing(value in "[ -~]*", date in proptest::option::of("[ -~]*")) {
            prop_assert!(parsed(&value, date.as_deref()).is_none_or(|span| span <= LONGEST_PAUSE));
        }
    }
}
