//! The webhook's URL, held against any text at all.

use std::net::IpAddr;

use url::{Host, Url};

use super::guard::GuardPolicy;
use crate::{fuzz::fuzz, transport::fuzz::is_special};

#[test]
fn a_url_that_is_let_through_is_https_to_a_name_or_a_public_address() {
    let words = [
        "https://",
        "http://",
        "127.0.0.1",
        "0x7f",
        "0177",
        "2130706433",
        "[::1]",
        "[::ffff:7f00:1]",
        "@",
        ":",
        "\\",
        "/",
        "%2e",
        "①",
        "。",
        "#",
        "?",
        "\t",
        "\n",
        ".",
        "localhost",
        "user:pass@",
    ];
    let strict = GuardPolicy::default();
    let open = GuardPolicy::new(vec!["127.0.0.0/8".parse().unwrap()], true);
    fuzz("webhook_url", &words, |input| {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let checked = strict.check(text);
        if let Err(refusal) = &checked {
            let host = Url::parse(text).ok().and_then(|url| url.host_str().map(str::to_owned));
            let told = refusal.to_string();
            assert!(
                host.is_none_or(|host| host.len() < 6 || !told.contains(&host)),
                "the URL is repeated"
            );
        }
        if let Ok(url) = &checked {
            assert_eq!(url.scheme(), "https");
            assert_eq!((url.username(), url.password()), ("", None));
            check_host(url);
            // What was checked is what is connected to, whoever parses it once more.
            assert_eq!(Url::parse(url.as_str()).as_ref(), Ok(url));
            // What no request can be made of is not sent.
            if let Ok(uri) = url.as_str().parse::<http::Uri>() {
                let plain = |host: &str| host.trim_end_matches('.').to_owned();
                assert_eq!(uri.host().map(plain), url.host_str().map(plain));
            }
            assert!(open.check(text).is_ok(), "flags only allow more");
        }
        if let Ok(url) = open.check(text) {
            assert!(matches!(url.scheme(), "http" | "https"));
            let own = matches!(url.host(), Some(Host::Ipv4(address)) if address.is_loopback());
            if !own && !matches!(url.host(), Some(Host::Ipv6(_))) {
                check_host(&url);
            }
        }
    });
}

fn check_host(url: &Url) {
    let literal = match url.host().unwrap() {
        Host::Ipv4(address) => IpAddr::V4(address),
        Host::Ipv6(address) => IpAddr::V6(address),
        Host::Domain(name) => {
            // Nothing that a resolver could read as an address.
            assert!(!name.is_empty() && name.parse::<IpAddr>().is_err(), "{name}");
            // One dot at the end is the root's; with more of them it is no address to anybody.
            let last = name.strip_suffix('.').unwrap_or(name).rsplit('.').next().unwrap();
            assert!(
                !last.bytes().all(|byte| byte.is_ascii_digit()) || last.is_empty(),
                "{name}"
            );
            return;
        }
    };
    assert!(!is_special(literal), "{literal}");
}
