//! What is made of headers and addresses, held against any bytes at all.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, HeaderValue, header};

use super::{AddressPolicy, retry_after::retry_after};
use crate::fuzz::fuzz;

const TWO_DAYS: u64 = 48 * 3600;

#[test]
fn a_pause_is_what_the_server_said_and_no_longer_than_two_days() {
    let words = [
        "Tue, 24 Nov 2026 12:00:00 GMT",
        "Tuesday, 24-Nov-26 12:00:00 GMT",
        "Tue Nov 24 12:00:00 2026",
        "0",
        "9",
        "172800",
        "-",
        "+",
        ".",
        "e5",
        " ",
        "\t",
        "GMT",
        "9999",
        "1970",
    ];
    let received_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_521_600);
    fuzz("retry_after", &words, |input| {
        let mut lines = input.splitn(2, |byte| *byte == b'\n');
        let mut headers = HeaderMap::new();
        for name in [header::RETRY_AFTER, header::DATE] {
            let line = lines.next().filter(|line| !line.is_empty());
            if let Some(value) = line.and_then(|line| HeaderValue::from_bytes(line).ok()) {
                headers.insert(name, value);
            }
        }
        let told = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let pause = retry_after(&headers, received_at);
        assert!(pause.is_none_or(|pause| pause <= Duration::from_secs(TWO_DAYS)));
        let Some(text) = told(header::RETRY_AFTER).map(str::trim) else {
            return assert_eq!(pause, None, "a pause that nobody asked for");
        };
        let seconds = text.parse::<u64>().ok().filter(|_| !text.starts_with('+'));
        let date = |text: &str| httpdate::parse_http_date(text).ok();
        match (seconds, date(text)) {
            (Some(seconds), _) if seconds <= 366 * 86_400 => {
                assert_eq!(pause, Some(Duration::from_secs(seconds.min(TWO_DAYS))));
            }
            (None, Some(until)) => {
                let since = told(header::DATE).and_then(date).unwrap_or(received_at);
                // Never earlier than the server said, as its own clock has it.
                let pause = pause.unwrap();
                assert!(since + pause >= until || pause.as_secs() == TWO_DAYS);
                assert!(pause.is_zero() || since + pause <= until);
            }
            _ => assert_eq!(pause, None, "{text:?} is neither seconds nor a date"),
        }
    });
}

/// Addresses of no public host, by the standard library's own predicates where it has them.
pub(crate) fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(v6) => {
            let unique_local = v6.segments()[0] & 0xfe00 == 0xfc00;
            let link_local = v6.segments()[0] & 0xffc0 == 0xfe80;
            let mapped = v6.to_ipv4().is_some_and(|v4| is_special(v4.into()));
            v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || unique_local || link_local || mapped
        }
    }
}

#[test]
fn no_special_address_is_admitted_in_whatever_dress() {
    let policy = AddressPolicy::default();
    fuzz("address", &[], |input| {
        if let Some(octets) = input.first_chunk::<4>() {
            let v4 = Ipv4Addr::from(*octets);
            let admitted = policy.admits(v4.into());
            assert!(!(admitted && is_special(v4.into())), "{v4}");
            let (high, low) = ((v4.to_bits() >> 16) as u16, v4.to_bits() as u16);
            let dressed = [
                v4.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ];
            for v6 in dressed {
                assert_eq!(policy.admits(v6.into()), admitted, "{v6} leads to {v4}");
            }
            let allowed = AddressPolicy::new(vec![IpAddr::from(v4).into()]);
            assert!(allowed.admits(v4.into()) && allowed.admits(v4.to_ipv6_mapped().into()));
        }
        if let Some(octets) = input.first_chunk::<16>() {
            let v6 = Ipv6Addr::from(*octets);
            assert!(!(policy.admits(v6.into()) && is_special(v6.into())), "{v6}");
        }
    });
}
