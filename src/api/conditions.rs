//! Condition types and reasons, in one place, so that no two spellings of one exist.
//!
//! Semantics: Kubernetes API conventions, "Typical status properties"; `Reconciling` and `Stalled` as kstatus reads them.

use std::fmt;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};

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

/// What a condition says of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// Nobody can say yet.
    Unknown,
}

impl ConditionStatus {
    /// The status as it stands in a condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for ConditionStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The condition of that type, if there is one.
pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == type_.as_str())
}

/// Whether the condition of that type is there and has that status.
pub fn has_status(conditions: &[Condition], type_: ConditionType, status: ConditionStatus) -> bool {
    find(conditions, type_).is_some_and(|condition| condition.status == status.as_str())
}

/// Sets the condition of that type. Its `lastTransitionTime` moves to `now`, cut to the second, only when the status
/// changes, as the Kubernetes API conventions ask. A message longer than the schema allows is cut.
///
/// Conditions keep their order, and a new one goes to the end: an unchanged state is an unchanged list.
pub fn set_condition(
    conditions: &mut Vec<Condition>,
    type_: ConditionType,
    status: ConditionStatus,
    reason: ConditionReason,
    message: &str,
    now: Timestamp,
    observed_generation: Option<i64>,
) {
    let old = conditions
        .iter()
        .position(|condition| condition.type_ == type_.as_str());
    let since = old
        .and_then(|index| conditions.get(index))
        .filter(|condition| condition.status == status.as_str())
        .map_or_else(
            || Time(whole_seconds(now)),
            |condition| condition.last_transition_time.clone(),
        );
    let new = Condition {
        type_: type_.as_str().to_owned(),
        status: status.as_str().to_owned(),
        reason: reason.as_str().to_owned(),
        message: message.chars().take(MAX_MESSAGE).collect(),
        last_transition_time: since,
        observed_generation,
    };
    match old.and_then(|index| conditions.get_mut(index)) {
        Some(condition) => *condition = new,
        None => conditions.push(new),
    }
}

/// Removes the condition of that type, if there is one.
pub fn remove_condition(conditions: &mut Vec<Condition>, type_: ConditionType) {
    conditions.retain(|condition| condition.type_ != type_.as_str());
}

/// The characters that `metav1.Condition` allows in a message.
const MAX_MESSAGE: usize = 32_768;

/// The instant without its fraction of a second: what the API server keeps of a `metav1.Time`.
fn whole_seconds(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_nanosecond().div_euclid(1_000_000_000) as i64).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn set(conditions: &mut Vec<Condition>, status: ConditionStatus, reason: ConditionReason, now: &str) {
        set_condition(
            conditions,
            ConditionType::Ready,
            status,
            reason,
            "A sentence.",
            at(now),
            Some(3),
        );
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let mut conditions = Vec::new();
        set(
            &mut conditions,
            ConditionStatus::Unknown,
            ConditionReason::Progressing,
            "2026-01-01T00:00:01.9Z",
        );
        set(
            &mut conditions,
            ConditionStatus::Unknown,
            ConditionReason::RateLimited,
            "2026-01-01T00:00:05Z",
        );

        let ready = find(&conditions, ConditionType::Ready).unwrap();
        assert_eq!(
            ready.last_transition_time.0,
            at("2026-01-01T00:00:01Z"),
            "cut to the second, and not moved"
        );
        assert_eq!(ready.reason, "RateLimited");
        assert_eq!(ready.observed_generation, Some(3));

        set(
            &mut conditions,
            ConditionStatus::True,
            ConditionReason::Terminated,
            "2026-01-01T00:00:09Z",
        );
        let ready = find(&conditions, ConditionType::Ready).unwrap();
        assert_eq!(ready.last_transition_time.0, at("2026-01-01T00:00:09Z"));
        assert_eq!(conditions.len(), 1);
        assert!(has_status(&conditions, ConditionType::Ready, ConditionStatus::True));
        assert!(!has_status(
            &conditions,
            ConditionType::Finished,
            ConditionStatus::False
        ));
    }

    #[test]
    fn the_fraction_of_an_instant_before_1970_is_cut_downwards() {
        assert_eq!(whole_seconds(at("1969-12-31T23:59:58.5Z")), at("1969-12-31T23:59:58Z"));
    }

    #[test]
    fn conditions_keep_their_places_and_can_be_removed() {
        let mut conditions = Vec::new();
        for type_ in [ConditionType::Ready, ConditionType::Reconciling, ConditionType::Ready] {
            set_condition(
                &mut conditions,
                type_,
                ConditionStatus::Unknown,
                ConditionReason::Progressing,
                "",
                at("2026-01-01T00:00:00Z"),
                None,
            );
        }
        let types: Vec<_> = conditions.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(types, ["Ready", "Reconciling"]);

        remove_condition(&mut conditions, ConditionType::Ready);
        assert!(find(&conditions, ConditionType::Ready).is_none());
        assert!(find(&conditions, ConditionType::Reconciling).is_some());
    }

    #[test]
    fn every_reason_is_read_as_it_is_written() {
        for reason in ConditionReason::ALL {
            assert_eq!(ConditionReason::parse(reason.as_str()), Some(*reason));
        }
        assert_eq!(ConditionReason::parse("NoSuchReason"), None);
    }
}
