//! The vendor and the webhook receiver, as models: what they were asked and what they did about it.

use serde_json::Value;

/// A guest call that reached the vendor.
#[derive(Clone, Debug)]
pub struct Call {
    /// A look or a termination.
    pub operation: Operation,
    /// The guest's id.
    pub guest: String,
    /// The session incarnation under that id when the call was taken in: 1 is the first life.
    pub life: Option<u32>,
    /// That incarnation was active.
    pub active: bool,
    /// The call ended that incarnation.
    pub effective: bool,
    /// What a termination carried.
    pub parameters: Option<Value>,
    /// The answer's status.
    pub status: u16,
}

/// Which guest call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// GET.
    Observe,
    /// DELETE.
    Terminate,
}

/// A webhook that reached the receiver.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The endpoint's path.
    pub endpoint: String,
    /// `webhook-id`.
    pub id: String,
    /// The body.
    pub body: Value,
    /// The signature verified.
    pub signed: bool,
    /// The answer's status.
    pub status: u16,
}
