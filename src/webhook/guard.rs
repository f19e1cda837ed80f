//! Where a webhook may go: the guard against server-side request forgery.
//!
//! Whoever may write a connection chooses a URL that the operator, inside the cluster's network, sends a request to.
//! So the URL is checked here, and the address that its host turns out to have is checked when the connection is made
//! ([`AddressPolicy`]).

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;
use url::{Host, Url};

use crate::transport::AddressPolicy;

/// What webhook URLs are allowed to be.
#[derive(Clone, Debug, Default)]
pub struct GuardPolicy {
    addresses: Arc<AddressPolicy>,
    allow_http: bool,
}

impl GuardPolicy {
    /// A policy that admits https to the public Internet and to `allow_cidrs`, and with `allow_http` http as well.
    pub fn new(allow_cidrs: Vec<IpNet>, allow_http: bool) -> Self {
        Self {
            addresses: Arc::new(AddressPolicy::new(allow_cidrs)),
            allow_http,
        }
    }

    /// Which addresses may be connected to.
    pub fn addresses(&self) -> &Arc<AddressPolicy> {
        &self.addresses
    }

    /// Checks a URL, as far as that goes without resolving its host.
    ///
    /// # Errors
    /// [`Refusal`], a sentence that never repeats the URL: its path or query is often a secret.
    pub fn check(&self, text: &str) -> Result<Url, Refusal> {
        let url = Url::parse(text).map_err(|_| Refusal::NotAUrl)?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => return Err(Refusal::Http),
            _ => return Err(Refusal::NotAUrl),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::User);
        }
        // The parser has turned octal, decimal, hexadecimal and shortened literals into addresses.
        let literal = match url.host().ok_or(Refusal::NotAUrl)? {
            Host::Ipv4(address) => Some(IpAddr::V4(address)),
            Host::Ipv6(address) => Some(IpAddr::V6(address)),
            Host::Domain(_) => None,
        };
        if literal.is_some_and(|address| !self.addresses.admits(address)) {
            return Err(Refusal::Address);
        }
        Ok(url)
    }
}

/// Why nothing is sent to a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a URL with a host and the scheme https.
    #[error("the webhook's URL is not an https URL")]
    NotAUrl,
    /// http, and the operator's flag does not allow it.
    #[error("the webhook's URL uses http, which this operator's configuration does not allow")]
    Http,
    /// A URL with user or password.
    #[error("the webhook's URL must not hold a user or password")]
    User,
    /// An address that is not public and not allowed.
    #[error("the webhook's host is not a public address, and this operator's configuration does not allow its network")]
    Address,
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("https://hooks.example/a?b=c")]
    #[case("https://hooks.example:8443/")]
    #[case("https://1.1.1.1/")]
    #[case("https://[2606:4700:4700::1111]/")]
    // Names are judged by what they resolve to.
    #[case("https://localhost/")]
    fn a_public_https_url_is_admitted(#[case] url: &str) {
        assert_eq!(GuardPolicy::default().check(url).unwrap().as_str(), url);
    }

    #[rstest]
    #[case("https://127.0.0.1/")]
    #[case("https://127.1/")]
    #[case("https://0177.0.0.1/")]
    #[case("https://0x7f.0.0.1/")]
    #[case("https://0x7f000001/")]
    #[case("https://2130706433/")]
    #[case("https://017700000001/")]
    #[case("https://127.0.0.1./")]
    #[case("https://127%2e0.0.1/")]
    #[case("https://①②⑦.0.0.1/")]
    #[case("https://0/")]
    #[case("https://169.254.169.254/latest/meta-data")]
    #[case("https://0xa9fea9fe/")]
    #[case("https://2852039166/")]
    #[case("https://10.0.0.1/")]
    #[case("https://192.168.257/")]
    #[case("https://[::1]/")]
    #[case("https://[::]/")]
    #[case("https://[::ffff:127.0.0.1]/")]
    #[case("https://[::ffff:a9fe:a9fe]/")]
    #[case("https://[64:ff9b::7f00:1]/")]
    #[case("https://[2002:7f00:1::]/")]
    #[case("https://[fd00:ec2::254]/")]
    #[case("https://[fe80::1]/")]
    fn an_address_that_is_not_public_is_refused_however_it_is_written(#[case] url: &str) {
        assert_eq!(GuardPolicy::default().check(url), Err(Refusal::Address));
    }

    #[rstest]
    #[case("http://hooks.example/", Refusal::Http)]
    #[case("ftp://hooks.example/", Refusal::NotAUrl)]
    #[case("file:///etc/passwd", Refusal::NotAUrl)]
    #[case("https://", Refusal::NotAUrl)]
    #[case("https://256.256.256.256/", Refusal::NotAUrl)]
    #[case("https://[fe80::1%25eth0]/", Refusal::NotAUrl)]
    #[case("hooks.example", Refusal::NotAUrl)]
    #[case("https://user@hooks.example/", Refusal::User)]
    #[case("https://:pass@hooks.example/", Refusal::User)]
    fn a_url_that_is_no_plain_https_url_is_refused(#[case] url: &str, #[case] refusal: Refusal) {
        assert_eq!(GuardPolicy::default().check(url), Err(refusal));
    }

    #[test]
    fn flags_allow_http_and_networks() {
        let policy = GuardPolicy::new(vec!["127.0.0.0/8".parse().unwrap()], true);
        assert!(policy.check("http://127.0.0.1:9/").is_ok());
        assert_eq!(policy.check("http://10.0.0.1/"), Err(Refusal::Address));
    }
}
