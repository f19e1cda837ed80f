//! Condition types and reasons, in one place, so that no two spellings of one exist.
//!
//! Semantics: Kubernetes API conventions, "Typical status properties"; `Reconciling` and `Stalled` as kstatus reads them.

use std::fmt;

/// The types of the conditions on a `GuestTermination`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionType {
    /// The session is over.
    Ready,
    /// The outcome is final, whatever it is.
    Finished,
    /// The session was looked at before anything was done to it.
    SessionValidated,
    /// `spec.retainData` reached the vendor.
    RetentionApplied,
    /// `spec.suspend` holds the termination.
    Suspended,
    /// Every webhook was accepted.
    WebhookDelivered,
    /// kstatus: work is under way.
    Reconciling,
    /// kstatus: it ended without success.
    Stalled,
    /// On a connection: a guest was read through it, so a 404 can be believed.
    RouteProven,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The reasons of the conditions, for both kinds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ConditionReason { $($(#[$doc])* $name,)* }

        impl ConditionReason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The reason as it stands in a condition.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The reason of that spelling, if this version knows it.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
            }
        }
    };
}

reasons! {
    /// The session ended by this object's call.
    Terminated,
    /// The session was over before this object's call.
    AlreadyTerminated,
    /// Refused for good, by the vendor or by validation.
    Rejected,
    /// `spec.backoffLimit` was exhausted.
    RetriesExhausted,
    /// `spec.activeDeadlineSeconds` passed.
    DeadlineExceeded,
    /// A call may have taken effect and no look could tell.
    OutcomeUnknown,
    /// `spec.notAfter` passed.
    Expired,
    /// The termination is worked on.
    Progressing,
    /// An attempt did not succeed; another one follows.
    RetryScheduled,
    /// The vendor asked for a pause.
    RateLimited,
    /// An answer cannot have come from the API that was asked.
    SuspiciousAnswer,
    /// A 404 that cannot be believed yet.
    RouteNotProven,
    /// The connection, or what it needs, is not there.
    WaitingForConnection,
    /// The connection's `spec.suspend` is set.
    ConnectionSuspended,
    /// The vendor refused the credentials.
    CredentialsInvalid,
    /// The vendor refused this operation to this client.
    PermissionDenied,
    /// A bug in the operator met this object.
    InternalError,
    /// Not finished yet.
    InProgress,
    /// The session was active when it was looked at.
    SessionActive,
    /// The session was over when it was looked at.
    SessionAlreadyClosed,
    /// The request is not valid.
    ValidationRejected,
    /// No look has answered yet.
    NotChecked,
    /// `retainData` went out with the call that ended the session.
    SentWithTermination,
    /// `retainData` was not sent.
    NotSent,
    /// The session is gone, but whether by the call that carried `retainData` is not known.
    NotConfirmed,
    /// `spec.suspend` is true.
    Requested,
    /// `spec.suspend` is false again.
    NotSuspended,
    /// Every webhook was accepted.
    Delivered,
    /// A webhook was given up after its whole schedule.
    DeliveryFailed,
    /// A webhook's endpoint answered 410.
    EndpointGone,
    /// A webhook's entry was removed from the connection.
    EndpointRemoved,
    /// A webhook is still to be delivered.
    Pending,
    /// On a connection: the vendor gave a token.
    TokenValid,
    /// On a connection: the Secret or a key in it is missing or unusable.
    SecretMissing,
    /// On a connection: the endpoint is not https and the operator was not told to allow that.
    InsecureEndpoint,
    /// On a connection: nothing was asked of the vendor yet.
    NotProbed,
    /// On a connection: the vendor does not answer as it should.
    Unavailable,
    /// On a connection: `spec.suspend` is true.
    Suspended,
    /// On a connection: a guest was read through it.
    GuestRead,
    /// On a connection: no guest was read through it yet.
    NoGuestReadYet,
    /// On a connection: every read was answered 404.
    EveryReadNotFound,
}

impl ConditionType {
    /// The type as it stands in a condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Finished => "Finished",
            Self::SessionValidated => "SessionValidated",
            Self::RetentionApplied => "RetentionApplied",
            Self::Suspended => "Suspended",
            Self::WebhookDelivered => "WebhookDelivered",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::RouteProven => "RouteProven",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Display for ConditionReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
