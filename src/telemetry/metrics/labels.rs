//! The closed sets that labels come from.

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

use crate::{
    api::Outcome,
    termination::answer::{Call, Failure, Look},
};

macro_rules! labels {
    ($($(#[$doc:meta])* $vis:vis enum $name:ident { $($(#[$value_doc:meta])* $value:ident = $text:literal,)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
            $vis enum $name { $($(#[$value_doc])* $value,)* }

            impl $name {
                /// Every value.
                $vis const ALL: [Self; [$($text),*].len()] = [$(Self::$value),*];

                /// The value as it stands in a label.
                $vis const fn as_str(self) -> &'static str {
                    match self { $(Self::$value => $text,)* }
                }
            }

            impl EncodeLabelValue for $name {
                fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
                    self.as_str().encode(encoder)
                }
            }
        )*
    };
}

labels! {
    /// What was asked of the vendor.
    pub enum Operation {
        /// A look at a session.
        Observe = "observe",
        /// The end of a session.
        Terminate = "terminate",
    }

    /// What the vendor's answer means, in the words of the answer table.
    pub enum VendorClass {
        /// Observe: the session is active.
        Active = "active",
        /// The session is over.
        Gone = "gone",
        /// Observe: a state that this version does not know.
        Unclear = "unclear",
        /// Terminate: carried out.
        Applied = "applied",
        /// Terminate: accepted, to be confirmed.
        Accepted = "accepted",
        /// 404 or 410 in a shape that the vendor could have sent.
        NotFound = "not_found",
        /// Refused for good.
        Refused = "refused",
        /// Cannot have come from the API that was asked.
        Suspicious = "suspicious",
        /// 401.
        Unauthorized = "unauthorized",
        /// 403.
        Forbidden = "forbidden",
        /// 429.
        Throttled = "throttled",
        /// 408, 425, 5xx.
        Transient = "transient",
        /// No connection.
        Unreachable = "unreachable",
        /// No usable answer after the request left.
        Unanswered = "unanswered",
    }

    /// What came of a token request.
    pub enum TokenResult {
        /// A token.
        Granted = "granted",
        /// The vendor refused the credentials.
        Refused = "refused",
        /// Anything else.
        Failed = "failed",
    }

    /// What came of a status write.
    pub enum WriteOutcome {
        /// Durable.
        Written = "written",
        /// Somebody wrote in between.
        Conflict = "conflict",
        /// The object is gone.
        Gone = "gone",
        /// The API server asked for a pause.
        Throttled = "throttled",
        /// The API server said no.
        Refused = "refused",
        /// Not known.
        Unanswered = "unanswered",
    }

    /// What came of an Event.
    pub enum EventResult {
        /// Written.
        Written = "written",
        /// It was there before.
        AlreadyThere = "already_there",
        /// Its namespace is being deleted.
        NamespaceGone = "namespace_gone",
        /// Not written.
        Failed = "failed",
        /// Too many waited.
        LeftOut = "left_out",
    }

    /// What came of a try to deliver a webhook.
    pub enum WebhookResult {
        /// 2xx.
        Accepted = "accepted",
        /// Any other answer.
        Refused = "refused",
        /// 410.
        Gone = "gone",
        /// No answer.
        Unanswered = "unanswered",
        /// Not sent: the address is not allowed.
        Blocked = "blocked",
    }

    /// Where an open termination stands in the queue.
    pub enum QueueState {
        /// Due.
        Ready = "ready",
        /// Its time has not come.
        Waiting = "waiting",
    }

    /// The states of a breaker.
    pub enum BreakerState {
        /// Calls go through.
        Closed = "closed",
        /// Probes only.
        Open = "open",
    }

    /// The condition `Ready` of a connection.
    pub enum ConnectionState {
        /// True.
        Ready = "ready",
        /// False.
        NotReady = "not_ready",
        /// Unknown.
        Unknown = "unknown",
    }

    /// The kinds that are watched and written.
    pub enum WatchedKind {
        /// `GuestTermination`.
        GuestTermination = "GuestTermination",
        /// `GenesysConnection`.
        GenesysConnection = "GenesysConnection",
    }

    /// [`Outcome`], as a label.
    pub(super) enum OutcomeValue {
        Terminated = "Terminated",
        AlreadyTerminated = "AlreadyTerminated",
        Rejected = "Rejected",
        RetriesExhausted = "RetriesExhausted",
        DeadlineExceeded = "DeadlineExceeded",
        Expired = "Expired",
        Unconfirmed = "Unconfirmed",
    }
}

impl From<Outcome> for OutcomeValue {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Terminated => Self::Terminated,
            Outcome::AlreadyTerminated => Self::AlreadyTerminated,
            Outcome::Rejected => Self::Rejected,
            Outcome::RetriesExhausted => Self::RetriesExhausted,
            Outcome::DeadlineExceeded => Self::DeadlineExceeded,
            Outcome::Expired => Self::Expired,
            Outcome::Unconfirmed => Self::Unconfirmed,
        }
    }
}

impl From<&Look> for VendorClass {
    fn from(look: &Look) -> Self {
        match look {
            Look::Active(_) => Self::Active,
            Look::Ended(_) => Self::Gone,
            Look::Unclear(_) => Self::Unclear,
            Look::Failed(failure) => (*failure).into(),
        }
    }
}

impl From<&Call> for VendorClass {
    fn from(call: &Call) -> Self {
        match call {
            Call::Applied => Self::Applied,
            Call::Accepted => Self::Accepted,
            Call::Failed(failure) => (*failure).into(),
        }
    }
}

impl From<Failure> for VendorClass {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotFound { .. } => Self::NotFound,
            Failure::Refused => Self::Refused,
            Failure::Suspicious(_) => Self::Suspicious,
            Failure::Unauthorized | Failure::TokenDied => Self::Unauthorized,
            Failure::Forbidden => Self::Forbidden,
            Failure::Throttled => Self::Throttled,
            Failure::Transient => Self::Transient,
            Failure::Unreachable(_) => Self::Unreachable,
            Failure::Unanswered => Self::Unanswered,
        }
    }
}
