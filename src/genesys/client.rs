//! Single calls to the guests API.

use std::sync::Arc;

use bytes::Bytes;
use http::Request;

use super::{
    classify,
    endpoints::Endpoints,
    oauth::AccessToken,
    web_messaging_guests::{self, NotBuilt},
};
use crate::{
    clock::SharedClock,
    termination::{
        answer::{Answer, Call, Look, Unreachable},
        request::{GuestId, Termination},
    },
    transport::{self, CaBundle, CallError, CallErrorKind, HttpService, Limits, Received, RequestPolicy},
};

/// Where calls go, and how their answers are to be read.
#[derive(Clone, Debug)]
pub struct Target {
    /// The connection's addresses.
    pub endpoints: Endpoints,
    /// Certificates that the server's certificate is checked against, beside the system's.
    pub ca_bundle: Option<Arc<CaBundle>>,
    /// `spec.notFound.codes`: a facade's own codes that only a missing session can have.
    pub not_found_codes: Vec<String>,
}

/// The client of the guests API: every method is one call, never repeated and never waiting.
#[derive(Clone, Debug)]
pub struct VendorClient {
    service: HttpService,
    clock: SharedClock,
}

impl VendorClient {
    /// A client over the seam.
    pub fn new(service: HttpService, clock: SharedClock) -> Self {
        Self { service, clock }
    }

    /// Looks at a guest.
    pub async fn observe(&self, target: &Target, token: &AccessToken, guest: &GuestId) -> Answer<Look> {
        let request = web_messaging_guests::observe(&target.endpoints, token, guest);
        match self.call(target, request).await {
            Ok(received) => classify::look(&received, guest, &target.not_found_codes),
            Err(error) => classify::lost(error, Look::Failed),
        }
    }

    /// Asks for a guest's session to be ended.
    pub async fn terminate(&self, target: &Target, token: &AccessToken, termination: &Termination) -> Answer<Call> {
        let request = web_messaging_guests::terminate(&target.endpoints, token, termination);
        match self.call(target, request).await {
            Ok(received) => classify::call(&received, &termination.guest, &target.not_found_codes),
            Err(error) => classify::lost(error, Call::Failed),
        }
    }

    async fn call(&self, target: &Target, request: Result<Request<Bytes>, NotBuilt>) -> Result<Received, CallError> {
        let request = request.map_err(|NotBuilt| CallError {
            kind: CallErrorKind::Unreachable(Unreachable::Connect),
            duration: std::time::Duration::ZERO,
        })?;
        self.send(target, request).await
    }

    /// Sends one request to the vendor, within the limits of a call.
    pub(super) async fn send(&self, target: &Target, mut request: Request<Bytes>) -> Result<Received, CallError> {
        request.extensions_mut().insert(RequestPolicy {
            ca_bundle: target.ca_bundle.clone(),
            addresses: None,
        });
        transport::send(&self.service, self.clock.as_ref(), request, Limits::VENDOR).await
    }

    /// The clock that the calls run by.
    pub(super) fn clock(&self) -> &SharedClock {
        &self.clock
    }
}
