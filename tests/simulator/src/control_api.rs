//! The control API over HTTP: the methods of [`Controls`] under `/_control`, in JSON.

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::api::{
    Client, EndGuest, Fault, FaultSpec, Guest, GuestBatch, Ledger, LedgerFilter, Occurrence, Outage, ReturnGuest,
    RevokeTokens, Settings, Summary, WaitFor, WebhookEndpoint,
};
use crate::controls::{ControlError, Controls};

/// Answers `POST /_control/guests` and `POST /_control/tokens/revoke`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// How many were created or revoked.
    pub count: usize,
}

/// Answers `POST /_control/faults`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultId {
    /// The id of the fault.
    pub id: u64,
}

/// The routes; whoever adds the vendor sets the state.
pub(crate) fn routes() -> Router<Controls> {
    Router::new()
        .route("/_control/guests", get(guests).post(add_guests))
        .route("/_control/guests/end", post(end_guest))
        .route("/_control/guests/return", post(return_guest))
        .route("/_control/clients", post(set_client))
        .route("/_control/tokens/revoke", post(revoke_tokens))
        .route("/_control/settings", get(settings).put(set_settings))
        .route("/_control/webhooks", post(set_webhook))
        .route("/_control/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/_control/faults/{id}", delete(remove_fault))
        .route("/_control/outage", get(outage).put(set_outage))
        .route("/_control/ledger", get(ledger).delete(reset_ledger))
        .route("/_control/summary", get(summary))
        .route("/_control/wait", get(wait))
        .route("/_control/{*rest}", axum::routing::any(unknown))
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Unknown(_) => StatusCode::NOT_FOUND,
        };
        (status, Json(json!({"error": self.to_string()}))).into_response()
    }
}

async fn unknown() -> ControlError {
    ControlError::Unknown("control".to_owned())
}

async fn guests(State(controls): State<Controls>) -> Json<Vec<Guest>> {
    Json(controls.guests())
}

async fn add_guests(State(controls): State<Controls>, Json(batch): Json<GuestBatch>) -> Json<Counted> {
    Json(Counted {
        count: controls.add_guests(batch),
    })
}

async fn end_guest(State(controls): State<Controls>, Json(end): Json<EndGuest>) -> Result<Json<Guest>, ControlError> {
    controls.end_guest(&end).map(Json)
}

async fn return_guest(
    State(controls): State<Controls>,
    Json(guest): Json<ReturnGuest>,
) -> Result<Json<Guest>, ControlError> {
    controls.return_guest(&guest.id).map(Json)
}

async fn set_client(State(controls): State<Controls>, Json(client): Json<Client>) -> StatusCode {
    controls.set_client(client);
    StatusCode::NO_CONTENT
}

async fn revoke_tokens(State(controls): State<Controls>, Json(which): Json<RevokeTokens>) -> Json<Counted> {
    Json(Counted {
        count: controls.revoke_tokens(&which),
    })
}

async fn settings(State(controls): State<Controls>) -> Json<Settings> {
    Json(controls.settings())
}

async fn set_settings(State(controls): State<Controls>, Json(settings): Json<Settings>) -> StatusCode {
    controls.set_settings(settings);
    StatusCode::NO_CONTENT
}

async fn set_webhook(
    State(controls): State<Controls>,
    Json(endpoint): Json<WebhookEndpoint>,
) -> Result<StatusCode, ControlError> {
    controls.set_webhook(&endpoint)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn faults(State(controls): State<Controls>) -> Json<Vec<Fault>> {
    Json(controls.faults())
}

async fn add_fault(
    State(controls): State<Controls>,
    Json(fault): Json<FaultSpec>,
) -> Result<Json<FaultId>, ControlError> {
    controls.add_fault(fault).map(|id| Json(FaultId { id }))
}

async fn clear_faults(State(controls): State<Controls>) -> StatusCode {
    controls.clear_faults();
    StatusCode::NO_CONTENT
}

async fn remove_fault(State(controls): State<Controls>, Path(id): Path<u64>) -> Result<StatusCode, ControlError> {
    controls.remove_fault(id)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn outage(State(controls): State<Controls>) -> Json<Outage> {
    Json(controls.outage())
}

async fn set_outage(State(controls): State<Controls>, Json(outage): Json<Outage>) -> StatusCode {
    controls.set_outage(outage);
    StatusCode::NO_CONTENT
}

async fn ledger(State(controls): State<Controls>, Query(filter): Query<LedgerFilter>) -> Json<Ledger> {
    Json(controls.ledger_of(&filter))
}

async fn reset_ledger(State(controls): State<Controls>) -> StatusCode {
    controls.reset_ledger();
    StatusCode::NO_CONTENT
}

async fn summary(State(controls): State<Controls>) -> Json<Summary> {
    Json(controls.summary())
}

/// 408 when the time is over before the moment came.
async fn wait(State(controls): State<Controls>, Query(wait): Query<WaitFor>) -> Result<Json<Occurrence>, StatusCode> {
    controls
        .wait_for(&wait)
        .await
        .map(Json)
        .ok_or(StatusCode::REQUEST_TIMEOUT)
}
