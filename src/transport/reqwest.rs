//! The network: a [`HttpService`] over reqwest, with rustls and aws-lc-rs.
//!
//! * Redirects are not followed and nothing is repeated: the bearer token leaves for no other host, and a terminate
//!   call is sent once.
//! * HTTP/1.1 only. A connection then carries one request at a time: one that hangs is closed with the request that
//!   timed out, and takes no other with it; and whether a request left is known, which a refused HTTP/2 stream would
//!   leave open.
//! * An idle connection is kept for 20 s, less than servers and load balancers do (nginx 75 s, AWS 60 s), so that a
//!   request seldom meets one that the other side is closing. One that does is *interrupted*: it may have arrived.
//!   (hyper repeats only requests that it had not begun to write.)
//! * Nothing is decompressed, so no small body becomes a large one.
//! * `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` are honoured, except to this machine itself, and for requests with an
//!   address policy: behind a proxy it would be the proxy that resolves the name, and the check would be void.

use std::{
    error::Error,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::reqwest::dns::{Addrs, Name, Resolve, Resolving};
use bytes::Bytes;
use http_body_util::BodyExt;

use super::{AddressPolicy, Body, CaBundle, HttpService, RequestPolicy, TransportError};

/// Time for resolution, connection and TLS handshake together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Time that an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);
/// Idle connections that are kept to one host: more than a connection has calls in flight by default.
const MAX_IDLE: usize = 8;
/// Clients that are kept, each with its own connections.
const MAX_CLIENTS: usize = 32;

/// A service over the network. Install rustls' default crypto provider (aws-lc-rs) before the first request.
pub fn service() -> HttpService {
    let clients = Arc::new(Clients::default());
    HttpService::new(tower::service_fn(move |request| {
        let clients = Arc::clone(&clients);
        async move { clients.exchange(request).await }
    }))
}

/// Whether a client can be built that trusts `bundle`.
pub(super) fn accepts(bundle: &CaBundle) -> bool {
    build(Some(bundle), None, true).is_ok()
}

/// What makes two requests share a client: the certificates that it trusts, the addresses that it may connect to, and
/// whether it goes past any proxy.
type Key = (Option<[u8; 32]>, Option<AddressPolicy>, bool);

/// The clients in use, the most recently used last.
#[derive(Default)]
struct Clients {
    kept: Mutex<Vec<(Key, reqwest::Client)>>,
}

impl Clients {
    async fn exchange(&self, mut request: http::Request<Bytes>) -> Result<http::Response<Body>, TransportError> {
        let policy = request.extensions_mut().remove::<RequestPolicy>().unwrap_or_default();
        let host = request.uri().host().unwrap_or_default();
        let literal = literal(host);
        if let Some(addresses) = &policy.addresses {
            // A literal address is connected to without being resolved, so the resolver would not see it.
            if literal.is_some_and(|address| !addresses.admits(address)) {
                return Err(TransportError::Blocked);
            }
        }
        let to_itself = host == "localhost" || literal.is_some_and(|address| address.is_loopback());
        let client = self.client(&policy, to_itself)?;
        let mut request = reqwest::Request::try_from(request).map_err(|_| TransportError::Connect)?;
        if request
            .body()
            .and_then(reqwest::Body::as_bytes)
            .is_some_and(<[u8]>::is_empty)
        {
            *request.body_mut() = None;
        }
        let response = client.execute(request).await.map_err(|error| classify(&error))?;
        Ok(http::Response::from(response).map(|body| body.map_err(|_| TransportError::Interrupted).boxed_unsync()))
    }

    fn client(&self, policy: &RequestPolicy, direct: bool) -> Result<reqwest::Client, TransportError> {
        let key = (
            policy.ca_bundle.as_ref().map(|bundle| bundle.digest()),
            policy.addresses.as_deref().cloned(),
            direct,
        );
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match kept.iter().position(|(other, _)| *other == key) {
            Some(index) => kept.remove(index).1,
            // No client, because there is nothing to trust: the handshake would fail.
            None => {
                build(policy.ca_bundle.as_deref(), policy.addresses.clone(), direct).map_err(|_| TransportError::Tls)?
            }
        };
        if kept.len() == MAX_CLIENTS {
            kept.remove(0);
        }
        kept.push((key, client.clone()));
        Ok(client)
    }
}

fn build(
    bundle: Option<&CaBundle>,
    addresses: Option<Arc<AddressPolicy>>,
    direct: bool,
) -> reqwest::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder()
        .tls_backend_rustls()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(MAX_IDLE);
    if direct || addresses.is_some() {
        builder = builder.no_proxy();
    }
    if let Some(bundle) = bundle {
        builder = builder.tls_certs_merge(bundle.certificates());
    }
    if let Some(addresses) = addresses {
        builder = builder.dns_resolver(GuardedResolver(addresses));
    }
    builder.build()
}

/// The address that a URL's host is, if it is one.
fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Resolves by the system and hands out only what the policy admits, so that the address that was checked is the one
/// that is connected to, whatever the name resolves to a moment later.
struct GuardedResolver(Arc<AddressPolicy>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.0);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let admitted: Vec<SocketAddr> = found.filter(|address| policy.admits(address.ip())).collect();
            if admitted.is_empty() {
                return Err(TransportError::Blocked.into());
            }
            Ok(Box::new(admitted.into_iter()) as Addrs)
        })
    }
}

/// The kind of an error. reqwest's own text would name the URL.
fn classify(error: &reqwest::Error) -> TransportError {
    if !error.is_connect() {
        return TransportError::Interrupted;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<TransportError>() {
            return *error;
        }
        if error.is::<rustls::Error>() {
            return TransportError::Tls;
        }
        // `io::Error::source` skips the error that it wraps.
        cause = match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    TransportError::Connect
}
