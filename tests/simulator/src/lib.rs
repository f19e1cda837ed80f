//! A program that plays the vendor and a webhook receiver, with scripted faults and a ledger of all that it saw and did.
//!
//! It plays Genesys Cloud as the operator's `WebMessagingGuests` API expects it: the token endpoint
//! (`POST /oauth/token`), a look at a guest and the termination of its session (`GET` and `DELETE
//! /api/v2/webmessaging/guests/{guestId}`), rate limit, request ids and error shapes included, and a receiver of Standard
//! Webhooks (`POST /webhooks/{endpoint}`). Everything else is answered like a path that the vendor does not have.
//!
//! Tests start it in process ([`Simulator::start`]) and script it through [`Controls`]; other processes do the same
//! over HTTP under `/_control`, with the same types ([`api`]) in JSON:
//!
//! | method and path | in | out |
//! |---|---|---|
//! | `POST /_control/guests` | [`api::GuestBatch`] | [`Counted`] |
//! | `GET /_control/guests` | | list of [`api::Guest`] |
//! | `POST /_control/guests/end` | [`api::EndGuest`] | [`api::Guest`] |
//! | `POST /_control/guests/return` | [`api::ReturnGuest`] | [`api::Guest`] |
//! | `POST /_control/clients` | [`api::Client`] | 204 |
//! | `POST /_control/tokens/revoke` | [`api::RevokeTokens`] | [`Counted`] |
//! | `GET`, `PUT /_control/settings` | [`api::Settings`] | [`api::Settings`], 204 |
//! | `POST /_control/webhooks` | [`api::WebhookEndpoint`] | 204 |
//! | `POST /_control/faults` | [`api::FaultSpec`] | [`FaultId`] |
//! | `GET /_control/faults` | | list of [`api::Fault`] |
//! | `DELETE /_control/faults`, `/_control/faults/{id}` | | 204 |
//! | `GET`, `PUT /_control/outage` | [`api::Outage`] | [`api::Outage`], 204 |
//! | `GET /_control/ledger` | [`api::LedgerFilter`] as query | [`api::Ledger`] |
//! | `DELETE /_control/ledger` | | 204 |
//! | `GET /_control/summary` | | [`api::Summary`] |
//! | `GET /_control/wait` | [`api::WaitFor`] as query | [`api::Occurrence`], or 408 |
//!
//! One call goes this way: it is written down (`book`), meets an outage or the first fault that matches (`faults`), is
//! served by the vendor (`vendor`, `sessions`) or the receiver (`receiver`), and answered (`answer`), in `pipeline`.

pub mod api;

mod answer;
mod book;
mod call;
mod control_api;
mod controls;
mod faults;
mod line;
mod pipeline;
mod receiver;
mod sessions;
mod simulator;
mod state;
mod vendor;

pub use self::control_api::{Counted, FaultId};
pub use self::controls::{ControlError, Controls};
pub use self::simulator::{CLIENT_ID, CLIENT_SECRET, Options, Simulator};
