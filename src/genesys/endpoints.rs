//! Where a connection leads.

use url::{Host, Url};

use crate::api::{GenesysConnectionSpec, REGIONS};

/// The addresses of one connection, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// The base URL of the API, its path without a slash at the end unless it is the root.
    pub api: Url,
    /// The base URL of the token endpoint, likewise.
    pub login: Url,
    /// The host that calls go to, with its port where that is not the scheme's own.
    pub host: String,
}

impl Endpoints {
    /// The endpoints that a connection's spec names.
    ///
    /// # Errors
    /// [`EndpointError`], a sentence for the user.
    pub fn of(spec: &GenesysConnectionSpec, allow_insecure: bool) -> Result<Self, EndpointError> {
        let (api, login) = match (&spec.region, &spec.endpoints) {
            (Some(region), None) => {
                if !REGIONS.contains(&region.as_str()) {
                    return Err(EndpointError::UnknownRegion);
                }
                // The contract of the `WebMessagingGuests` API: its hosts are not those of the published Platform API.
                let url = format!("https://api.{region}.mygenesys.com");
                (url.clone(), url)
            }
            (None, Some(endpoints)) => (endpoints.api_url.clone(), endpoints.login_url.clone()),
            _ => return Err(EndpointError::NotOne),
        };
        let api = base("spec.endpoints.apiUrl", &api, allow_insecure)?;
        let login = base("spec.endpoints.loginUrl", &login, allow_insecure)?;
        let host = match (api.host_str(), api.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (Some(host), None) => host.to_owned(),
            (None, _) => return Err(EndpointError::NotAnAddress("spec.endpoints.apiUrl")),
        };
        Ok(Self { api, login, host })
    }
}

/// A base URL: https, or http where that is allowed; nothing but scheme, host, port and path.
fn base(field: &'static str, text: &str, allow_insecure: bool) -> Result<Url, EndpointError> {
    let mut url = Url::parse(text).map_err(|_| EndpointError::NotAnAddress(field))?;
    let host = url.host().ok_or(EndpointError::NotAnAddress(field))?;
    match url.scheme() {
        "https" => {}
        "http" if !is_local(&host) => return Err(EndpointError::HttpToElsewhere(field)),
        "http" if !allow_insecure => return Err(EndpointError::HttpNotAllowed(field)),
        "http" => {}
        _ => return Err(EndpointError::NotAnAddress(field)),
    }
    let user = !url.username().is_empty() || url.password().is_some();
    if user || url.query().is_some() || url.fragment().is_some() {
        return Err(EndpointError::MoreThanABase(field));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// This machine, or a Service of this cluster: http leaves neither. The rule of the CRD, once more.
fn is_local(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost" || name.ends_with(".svc") || name.ends_with(".svc.cluster.local"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

/// A connection's addresses cannot be used. Never repeats the address, which could hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Neither or both of `region` and `endpoints`.
    #[error("exactly one of spec.region and spec.endpoints must be set")]
    NotOne,
    /// No such region.
    #[error(
        "spec.region is not a region of Genesys Cloud that this version knows; use its AWS name, such as us-east-1"
    )]
    UnknownRegion,
    /// Not a URL with a host and the scheme https or http.
    #[error("{0} is not an https address")]
    NotAnAddress(&'static str),
    /// A URL with user, password, query or fragment.
    #[error("{0} must not hold a user, password, query or fragment")]
    MoreThanABase(&'static str),
    /// http to another place than this machine or cluster.
    #[error("{0} must use https: http is only for localhost, loopback addresses and Services in the cluster (.svc)")]
    HttpToElsewhere(&'static str),
    /// http, and the operator's flag does not allow it.
    #[error("{0} uses http, which this operator's configuration does not allow")]
    HttpNotAllowed(&'static str),
}

impl EndpointError {
    /// Whether the address was refused because it is not encrypted.
    pub fn is_insecure(self) -> bool {
        matches!(self, Self::HttpToElsewhere(_) | Self::HttpNotAllowed(_))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn spec(region: Option<&str>, url: Option<&str>) -> GenesysConnectionSpec {
        let mut spec = serde_json::json!({
            "api": "WebMessagingGuests",
            "credentialsSecretRef": {"name": "genesys"},
        });
        if let Some(region) = region {
            spec["region"] = region.into();
        }
        if let Some(url) = url {
            spec["endpoints"] = serde_json::json!({"apiUrl": url, "loginUrl": url});
        }
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn each_region_leads_to_one_host() {
        for region in REGIONS {
            let endpoints = Endpoints::of(&spec(Some(region), None), false).unwrap();
            assert_eq!(endpoints.host, format!("api.{region}.mygenesys.com"));
            assert_eq!(endpoints.api.as_str(), format!("https://api.{region}.mygenesys.com/"));
            assert_eq!(endpoints.login, endpoints.api);
        }
    }

    #[rstest]
    #[case(
        "https://gateway.example/genesys/",
        false,
        "https://gateway.example/genesys",
        "gateway.example"
    )]
    #[case(
        "https://gateway.example:8443",
        false,
        "https://gateway.example:8443/",
        "gateway.example:8443"
    )]
    #[case("https://gateway.example:443", false, "https://gateway.example/", "gateway.example")]
    #[case("http://localhost:8080", true, "http://localhost:8080/", "localhost:8080")]
    #[case("http://127.0.0.2:8080", true, "http://127.0.0.2:8080/", "127.0.0.2:8080")]
    #[case("http://[::1]:8080", true, "http://[::1]:8080/", "[::1]:8080")]
    #[case(
        "http://simulator.demo.svc",
        true,
        "http://simulator.demo.svc/",
        "simulator.demo.svc"
    )]
    #[case(
        "http://sim.demo.svc.cluster.local",
        true,
        "http://sim.demo.svc.cluster.local/",
        "sim.demo.svc.cluster.local"
    )]
    fn a_base_url_is_kept(#[case] url: &str, #[case] insecure: bool, #[case] api: &str, #[case] host: &str) {
        let endpoints = Endpoints::of(&spec(None, Some(url)), insecure).unwrap();
        assert_eq!((endpoints.api.as_str(), endpoints.host.as_str()), (api, host));
    }

    #[rstest]
    #[case(None, None, EndpointError::NotOne)]
    #[case(Some("us-east-1"), Some("https://a.example"), EndpointError::NotOne)]
    #[case(Some("us-east-9"), None, EndpointError::UnknownRegion)]
    #[case(Some("evil.example/"), None, EndpointError::UnknownRegion)]
    #[case(None, Some("gateway"), EndpointError::NotAnAddress("spec.endpoints.apiUrl"))]
    #[case(None, Some("ftp://localhost"), EndpointError::NotAnAddress("spec.endpoints.apiUrl"))]
    #[case(
        None,
        Some("https://u:p@a.example"),
        EndpointError::MoreThanABase("spec.endpoints.apiUrl")
    )]
    #[case(
        None,
        Some("https://a.example?x=1"),
        EndpointError::MoreThanABase("spec.endpoints.apiUrl")
    )]
    #[case(
        None,
        Some("https://a.example#x"),
        EndpointError::MoreThanABase("spec.endpoints.apiUrl")
    )]
    #[case(
        None,
        Some("http://a.example"),
        EndpointError::HttpToElsewhere("spec.endpoints.apiUrl")
    )]
    #[case(
        None,
        Some("http://a.svc.example"),
        EndpointError::HttpToElsewhere("spec.endpoints.apiUrl")
    )]
    #[case(
        None,
        Some("http://10.0.0.1"),
        EndpointError::HttpToElsewhere("spec.endpoints.apiUrl")
    )]
    fn an_address_that_cannot_be_used_is_refused(
        #[case] region: Option<&str>,
        #[case] url: Option<&str>,
        #[case] error: EndpointError,
    ) {
        assert_eq!(Endpoints::of(&spec(region, url), true), Err(error));
    }

    #[test]
    fn http_needs_the_operators_flag() {
        let refused = Endpoints::of(&spec(None, Some("http://localhost:1")), false).unwrap_err();
        assert_eq!(refused, EndpointError::HttpNotAllowed("spec.endpoints.apiUrl"));
        assert!(refused.is_insecure());
    }
}
