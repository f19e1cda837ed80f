//! A server below the seam, for unit tests.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};

use super::{Body, HttpService, TransportError};

/// A service that answers each request by `handler`.
pub(crate) fn service<F, A>(handler: F) -> HttpService
where
    F: Fn(Request<Bytes>) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Response<Body>, TransportError>> + Send + 'static,
{
    let handler = Arc::new(handler);
    HttpService::new(tower::service_fn(move |request| handler(request)))
}

/// An answer with a whole body.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_owned()))
        .map_err(|never| match never {})
        .boxed_unsync();
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body).unwrap()
}
