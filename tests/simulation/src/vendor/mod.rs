//! The vendor and the webhook receiver, as models: what they were asked and what they did about it.
//!
//! Both are synchronous and pure: time comes in with each request, and so does every choice. What they answer is what
//! the program in `tests/simulator` answers over a socket; that one lives on the real clock and keeps its shapes to
//! itself, so the few of them that are wanted here are written again.

mod answers;
mod guests;
mod model;
mod modes;
mod receiver;
#[cfg(test)]
mod tests;
mod tokens;

use std::time::Duration;

use bytes::Bytes;
use k8s_openapi::jiff::Timestamp;

pub(crate) use answers::http_date;
pub use answers::{Canned, RetryAfter, canned};
pub use guests::{EndedAs, Ending, Guest, Trouble};
pub use model::Vendor;
pub use modes::{Mode, NoRoute};
pub use receiver::{EndpointMode, Receiver};
pub use tokens::TokenMode;

use crate::history::{Ordinal, What};

/// What every secret, every token and every text of a vendor's or a receiver's body holds, and what therefore must not
/// turn up anywhere else. In the alphabets of tokens and of base64.
pub const CANARY: &str = "c4naryc4nary";

/// A request's arrival at a model.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// True time since the start of the run.
    pub at: Duration,
    /// The server's wall clock.
    pub now: Timestamp,
    /// The request's number.
    pub ordinal: Ordinal,
}

/// What a model did.
#[derive(Clone, Debug)]
pub enum Entry {
    /// The vendor took a guest call in.
    Call(Ordinal, Call),
    /// The token endpoint answered, with this status.
    Token(Ordinal, u16),
    /// A life of a guest began or ended.
    Life(Life),
    /// The receiver took a webhook in.
    Delivery(Ordinal, Delivery),
}

impl From<Entry> for What {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Call(ordinal, call) => Self::Vendor { ordinal, call },
            Entry::Token(ordinal, status) => Self::Token { ordinal, status },
            Entry::Life(life) => Self::Life(life),
            Entry::Delivery(ordinal, delivery) => Self::Webhook { ordinal, delivery },
        }
    }
}

/// A guest call that reached the vendor.
#[derive(Clone, Debug)]
pub struct Call {
    /// The host that it was sent to, with its port where that is not the scheme's own.
    pub host: String,
    /// The client whose token it carried, dead or alive; `None` for a token that was never issued.
    pub client: Option<String>,
    /// A look or a termination.
    pub operation: Operation,
    /// The guest's id.
    pub guest: String,
    /// The session incarnation under that id when the call was taken in: 1 is the first life. `None`: no such guest.
    pub life: Option<u32>,
    /// That incarnation was active.
    pub active: bool,
    /// What the call does to it.
    pub effect: Effect,
    /// What the answer says, as it was meant.
    pub told: Told,
    /// The answer's status.
    pub status: u16,
    /// The answer's `inin-ratelimit-allowed`.
    pub allowed: Option<u32>,
    /// The answer's `Retry-After`.
    pub retry_after: Option<Duration>,
}

/// Which guest call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// GET.
    Observe,
    /// DELETE.
    Terminate,
}

/// What a call does to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// It ended it.
    Ended,
    /// It ends whatever life is active at that true time.
    Later(Duration),
}

/// What an answer says, as the vendor meant it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The session is active.
    Active,
    /// The session is over: a state that says so, or a code that only a missing session can have.
    Over,
    /// `not.found`, or nothing but 404: a session that is not there, or a path.
    NotFound,
    /// The session is in a state that no client knows.
    Unclear,
    /// The termination is done.
    Applied,
    /// The termination was accepted.
    Accepted,
    /// The request is refused for good, in the vendor's error shape.
    Refused,
    /// 401, in the vendor's error shape.
    Unauthorized,
    /// 403, in the vendor's error shape.
    Forbidden,
    /// 429, in the vendor's error shape.
    Throttled,
    /// Nothing that anything could be concluded from: 5xx, a gateway's page, another guest.
    Nothing,
}

impl Told {
    /// It says nothing that a client could go by.
    pub fn fails(self) -> bool {
        matches!(self, Self::Nothing | Self::Unclear)
    }
}

/// A life of a guest begins or ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// True time since the start of the run. Records of it may come later: effects that lag are noticed with the next
    /// request or [`Vendor::pass`].
    pub at: Duration,
    /// The host of the vendor.
    pub host: String,
    /// The guest's id.
    pub guest: String,
    /// Which life, from 1.
    pub life: u32,
    /// How.
    pub change: Change,
}

/// How a life changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It begins: the guest is there, or there again.
    Begins,
    /// It ends: by this call, or by itself.
    Ends(Option<Ordinal>),
}

/// A webhook that reached the receiver.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The endpoint: its URL without the scheme.
    pub endpoint: String,
    /// `webhook-id`.
    pub id: String,
    /// The body.
    pub body: Bytes,
    /// The signature is of a key of the endpoint's. Whether its timestamp was believed, the status tells.
    pub signed: bool,
    /// The answer's status.
    pub status: u16,
}
