//! The third of the three seams: HTTP, to the vendor and to webhook endpoints.
//!
//! A [`HttpService`] turns one request into one answer or says why there is none. Timeouts and caps are above the seam
//! ([`send`]), so a simulation can be the server below it; connections, TLS and name resolution are below it
//! ([`reqwest`]). What differs between requests travels with each as its [`RequestPolicy`].

mod address;
mod ca;
#[cfg(test)]
pub(crate) mod fuzz;
pub mod reqwest;
mod retry_after;
mod send;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::combinators::UnsyncBoxBody;

pub use address::AddressPolicy;
pub use ca::{CaBundle, InvalidCaBundle};
pub use send::{BodyEnd, CallError, CallErrorKind, Limits, Lost, Received, send};

/// `User-Agent` of every request: the program and its version.
pub const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("guest-termination-operator/", env!("CARGO_PKG_VERSION")));

/// The body of an answer, as it arrives.
pub type Body = UnsyncBoxBody<Bytes, TransportError>;

/// One HTTP request to one answer, never following a redirect and never repeating a request that may have left.
pub type HttpService = tower::util::BoxCloneSyncService<http::Request<Bytes>, http::Response<Body>, TransportError>;

/// What one request needs of its connection. Absent from a request's extensions: the default.
#[derive(Clone, Debug, Default)]
pub struct RequestPolicy {
    /// Certificates that the server's certificate is checked against, beside the system's.
    pub ca_bundle: Option<Arc<CaBundle>>,
    /// Connect, without a proxy, only to addresses that this policy admits after resolution.
    pub addresses: Option<Arc<AddressPolicy>>,
}

/// Why there is no answer, or no more of it. The kind alone: never a URL, a header or a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The name did not resolve, the connection was refused or timed out: no byte of the request was sent.
    #[error("no connection could be made")]
    Connect,
    /// The TLS handshake or the certificate failed: no byte of the request was sent.
    #[error("the TLS handshake failed")]
    Tls,
    /// The [`AddressPolicy`] admits no address of this host: no byte was sent.
    #[error("the address is not allowed")]
    Blocked,
    /// The connection broke after bytes of the request may have been sent.
    #[error("the connection broke")]
    Interrupted,
}
