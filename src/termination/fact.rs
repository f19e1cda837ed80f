//! What happened: the answers of effects and the turns of time, as data that a status evolves by.

use k8s_openapi::jiff::Timestamp;

use super::answer::{Answer, Call, Look, SessionSeen};
use crate::api::{Outcome, PinnedConnection, WebhookEvent, WebhookFormat, conditions::ConditionReason};

/// Something that happened to one termination.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact {
    /// The spec was edited; the status catches up with it.
    SpecChanged,
    /// `spec.suspend` became true.
    Suspended,
    /// `spec.suspend` became false again.
    Resumed,
    /// Nothing can be asked of the vendor until the connection changes.
    Held(Hold),
    /// A terminate call is about to leave.
    Intended {
        /// Random id of the attempt.
        id: String,
        /// The process that will send the call.
        holder: String,
        /// What the look saw that supports the intent.
        session: SessionSeen,
        /// The connection that the look went through.
        connection: PinnedConnection,
    },
    /// The call of the own open intent never left.
    NotSent {
        /// Why, in a sentence.
        why: String,
    },
    /// A look was answered.
    Looked {
        /// The vendor's answer.
        answer: Answer<Look>,
        /// A 404 in the right shape can be believed, as things stood when the look was made: the route was proven, by
        /// another object or by this one ([`proves_route`](super::deadline::proves_route)), or the user says so. An intent
        /// that was written later proves nothing of this look.
        route_proven: bool,
        /// What came with it.
        context: Context,
    },
    /// The terminate call of an intent was answered.
    Called {
        /// The attempt whose call it was.
        attempt: AttemptSent,
        /// The vendor's answer.
        answer: Answer<Call>,
        /// What came with it.
        context: Context,
    },
    /// Somebody else's intent is over: the session was still active after its call must have been answered.
    Abandoned {
        /// The intent that is given up.
        id: String,
        /// The retry's share of chance, 0 to 1.
        jitter: f64,
    },
    /// An accepted call (202) was not confirmed in time.
    NotConfirmed {
        /// The intent that is given up.
        id: String,
        /// The retry's share of chance, 0 to 1.
        jitter: f64,
    },
    /// The termination ends without success.
    Ended(End),
    /// A try of a webhook is over.
    WebhookTried {
        /// The webhook's name.
        name: String,
        /// What came of it.
        answer: WebhookAnswer,
        /// The next try's share of chance, 0 to 1.
        jitter: f64,
    },
    /// The operator itself failed on this object.
    Panicked {
        /// The pause's share of chance, 0 to 1.
        jitter: f64,
    },
}

/// What an answer of the vendor comes with.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    /// The connection that was asked.
    pub connection: PinnedConnection,
    /// The webhooks that announce the end, should this be it.
    pub webhooks: Vec<Announcement>,
    /// A failure spends budget: the connection's breaker was closed.
    pub spends: bool,
    /// The retry's share of chance, 0 to 1.
    pub jitter: f64,
}

/// A webhook that announces the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Announcement {
    /// The webhook's name.
    pub name: String,
    /// What is announced.
    pub event: WebhookEvent,
    /// The body's format.
    pub format: WebhookFormat,
    /// The `webhook-id` of every try.
    pub message_id: String,
}

/// An attempt whose call left.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptSent {
    /// Random id of the attempt.
    pub id: String,
    /// Its number.
    pub number: i32,
    /// When its intent was written.
    pub started_at: Timestamp,
    /// When the call left.
    pub sent_at: Timestamp,
}

/// Why nothing can be asked of the vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The reason of `Ready=Unknown`.
    pub reason: ConditionReason,
    /// What is wrong and what to do, in a sentence.
    pub message: String,
}

/// An unsuccessful end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// How it ends.
    pub outcome: Outcome,
    /// Why, in a sentence.
    pub message: String,
}

/// What came of a try of a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookAnswer {
    /// The endpoint answered 2xx.
    Accepted {
        /// The HTTP status.
        status: u16,
    },
    /// To be tried again.
    Failed {
        /// The HTTP status, if an answer came.
        status: Option<u16>,
        /// `Retry-After`.
        retry_after: Option<std::time::Duration>,
        /// What happened, in a sentence.
        why: String,
    },
    /// The endpoint answered 410.
    Gone,
    /// The webhook's entry is no longer in the connection.
    Removed,
    /// The operator itself failed on it.
    Panicked,
}
