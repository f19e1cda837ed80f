//! The requests of the `WebMessagingGuests` API: `GET` and `DELETE /api/v2/webmessaging/guests/{guestId}`.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::ExposeSecret;
use url::Url;

use super::{endpoints::Endpoints, oauth::AccessToken};
use crate::{
    termination::request::{GuestId, Termination},
    transport::USER_AGENT,
};

/// Everything but RFC 3986's unreserved characters is escaped, a space as `%20`: form decoders and URI decoders read
/// that alike, and `+`, `&` and `=` stay what they are.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The media type of every request and answer.
pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A request could not be built to lead exactly where it should. Nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotBuilt;

/// The request that looks at a guest.
pub(super) fn observe(endpoints: &Endpoints, token: &AccessToken, guest: &GuestId) -> Result<Request<Bytes>, NotBuilt> {
    build(Method::GET, &guest_url(endpoints, guest)?, token)
}

/// The request that ends a guest's session.
pub(super) fn terminate(
    endpoints: &Endpoints,
    token: &AccessToken,
    termination: &Termination,
) -> Result<Request<Bytes>, NotBuilt> {
    let mut url = guest_url(endpoints, &termination.guest)?;
    let mut query = format!(
        "reason={}&retainData={}",
        termination.reason.as_str(),
        termination.retain_data
    );
    if let Some(reference) = &termination.external_ref {
        query.push_str("&externalRef=");
        query.extend(utf8_percent_encode(reference.as_str(), QUERY));
    }
    url.set_query(Some(&query));
    if url.query() != Some(query.as_str()) {
        return Err(NotBuilt);
    }
    build(Method::DELETE, &url, token)
}

/// The URL of one guest. What a URL library makes of a path is not trusted but compared: a segment that it drops or
/// folds would lead to the collection, or out of it.
fn guest_url(endpoints: &Endpoints, guest: &GuestId) -> Result<Url, NotBuilt> {
    let base = endpoints.api.path().trim_end_matches('/');
    let path = format!("{base}/api/v2/webmessaging/guests/{}", guest.as_str());
    let mut url = endpoints.api.clone();
    url.set_path(&path);
    if url.path() == path { Ok(url) } else { Err(NotBuilt) }
}

fn build(method: Method, url: &Url, token: &AccessToken) -> Result<Request<Bytes>, NotBuilt> {
    let mut bearer =
        HeaderValue::try_from(format!("Bearer {}", token.secret().expose_secret())).map_err(|_| NotBuilt)?;
    bearer.set_sensitive(true);
    Request::builder()
        .method(method)
        .uri(url.as_str())
        .header(header::AUTHORIZATION, bearer)
        .header(header::ACCEPT, JSON)
        .header(header::CONTENT_TYPE, JSON)
        .header(header::USER_AGENT, USER_AGENT)
        .body(Bytes::new())
        .map_err(|_| NotBuilt)
}
