//! Guests: what they are told to do.

use serde::{Deserialize, Serialize};

/// A guest to create, with the script of its session.
///
/// Posting a guest that exists replaces its script; a session that is over and is posted as `active` is a return, hence
/// a new incarnation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestSpec {
    /// The guest id, any string.
    pub id: String,
    /// The state that a look is told; only `active` can be terminated.
    #[serde(default = "active")]
    pub state: String,
    /// What a termination leaves behind; the simulator's setting where absent.
    #[serde(default)]
    pub after: Option<AfterTermination>,
    /// How long, in ms, looks still tell the old state after a termination took effect.
    #[serde(default)]
    pub effect_lag_ms: u64,
    /// Set: a termination is answered 202 and takes effect later, or never.
    #[serde(default)]
    pub accept: Option<Acceptance>,
    /// Whether the guest comes back under the same id after its session ended.
    #[serde(default)]
    pub returns: Option<Return>,
}

impl GuestSpec {
    /// An active guest without any script.
    pub fn active(id: impl Into<String>) -> Self {
        Self::in_state(id, "active")
    }

    /// A guest whose session is in `state`.
    pub fn in_state(id: impl Into<String>, state: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            state: state.into(),
            after: None,
            effect_lag_ms: 0,
            accept: None,
            returns: None,
        }
    }
}

fn active() -> String {
    "active".to_owned()
}

/// What a termination leaves behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterTermination {
    /// The session stays readable, in state `closed`.
    #[default]
    Closed,
    /// The session is removed: looks are answered 404.
    Gone,
}

/// An asynchronous termination: answered 202.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acceptance {
    /// When it takes effect, in ms after the answer was decided; `null` or absent: never.
    #[serde(default)]
    pub ends_after_ms: Option<u64>,
}

/// How a guest comes back under the same id: a new incarnation of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Return {
    /// When.
    pub when: ReturnWhen,
    /// How often; 1 where absent.
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

/// When a guest comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReturnWhen {
    /// With the end itself: the very next call meets the new session.
    Immediately,
    /// That many calls after the end still find the session over; the next one meets the new one.
    AfterCalls(u32),
    /// The first call that comes at least that many ms after the end meets the new session.
    AfterMillis(u64),
}

/// `POST /_control/guests`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuestBatch {
    /// Guests one by one.
    pub guests: Vec<GuestSpec>,
    /// Active guests by the number.
    pub series: Option<GuestSeries>,
}

/// Active guests `{prefix}0` … `{prefix}{count − 1}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestSeries {
    /// What their ids begin with.
    pub prefix: String,
    /// How many.
    pub count: u32,
}

/// `POST /_control/guests/end`: the session ends without any call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndGuest {
    /// The guest.
    pub id: String,
    /// What is left of the session.
    #[serde(default)]
    pub leaving: AfterTermination,
}

/// `POST /_control/guests/return`: the guest comes back now, as a new incarnation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReturnGuest {
    /// The guest.
    pub id: String,
}

/// A guest as it is now, in truth (an effect lag does not show here).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    /// The guest id.
    pub id: String,
    /// The session's state; `None` when it was removed.
    pub state: Option<String>,
    /// Which life of the id this is, from 1.
    pub incarnation: u32,
}
