//! What is asked for, parsed: a request that exists is valid.
//!
//! The API server validates the same rules by CEL; this is the second lock, for a CRD that was replaced or edited.

use std::{fmt, time::Duration};

use k8s_openapi::jiff::Timestamp;

use crate::api::{GuestTermination, Reason};

/// The id of a guest, safe as one segment of a URL's path.
///
/// 1 to 128 of `A-Z a-z 0-9 . _ -`, a letter or digit at both ends, no `..`: whatever else a URL library does to a
/// segment, it leaves these characters alone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestId(String);

impl GuestId {
    /// The longest id, in characters.
    pub const MAX_LENGTH: usize = 128;

    /// Parses an id.
    ///
    /// # Errors
    /// [`Invalid`], which names the rule that the text breaks and never repeats the text.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        if bytes.is_empty() || bytes.len() > Self::MAX_LENGTH {
            Err(Invalid("spec.guestId must have 1 to 128 characters"))
        } else if !bytes.iter().copied().all(alphabet) {
            Err(Invalid("spec.guestId may hold only letters, digits, '.', '_' and '-'"))
        } else if !ends(bytes.first()) || !ends(bytes.last()) {
            Err(Invalid("spec.guestId must start and end with a letter or a digit"))
        } else if text.contains("..") {
            Err(Invalid("spec.guestId must not contain '..'"))
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// The id as the vendor knows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for GuestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}", self.0)
    }
}

/// A reference of the requester's, passed on exactly: 1 to 256 characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalRef(String);

impl ExternalRef {
    /// The longest reference, in characters.
    pub const MAX_LENGTH: usize = 256;

    /// Parses a reference.
    ///
    /// # Errors
    /// [`Invalid`], which names the rule that the text breaks and never repeats the text.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let length = text.chars().count();
        if length == 0 || length > Self::MAX_LENGTH {
            Err(Invalid("spec.externalRef must have 1 to 256 characters"))
        } else if text.chars().any(char::is_control) {
            Err(Invalid("spec.externalRef must not contain control characters"))
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// The reference as the requester wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A rule of the request that was broken, as a sentence for the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid(pub &'static str);

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.0)
    }
}

impl std::error::Error for Invalid {}

/// What the vendor is asked to do: the part of a request that goes over the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Termination {
    /// Whose session ends.
    pub guest: GuestId,
    /// Why it ends.
    pub reason: Reason,
    /// Whether the conversation's data is kept.
    pub retain_data: bool,
    /// The requester's reference.
    pub external_ref: Option<ExternalRef>,
}

/// One parsed `GuestTermination`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The object's uid.
    pub uid: String,
    /// The object's generation.
    pub generation: i64,
    /// When the object was created.
    pub created: Timestamp,
    /// What the vendor is asked to do.
    pub termination: Termination,
    /// No terminate call leaves after this instant.
    pub not_after: Option<Timestamp>,
    /// The user holds the termination.
    pub suspend: bool,
    /// Retries that may be spent.
    pub backoff_limit: i32,
    /// Time from creation, suspended time excluded, until the termination has failed.
    pub active_deadline: Duration,
}

impl Request {
    /// The longest `spec.activeDeadlineSeconds`: a year, so that no sum of it overflows.
    pub const MAX_DEADLINE_SECONDS: u64 = 31_536_000;

    /// Parses an object.
    ///
    /// # Errors
    /// [`Invalid`], which names the rule that the object breaks.
    pub fn parse(object: &GuestTermination) -> Result<Self, Invalid> {
        let metadata = &object.metadata;
        let spec = &object.spec;
        let deadline = u64::try_from(spec.active_deadline_seconds)
            .ok()
            .filter(|seconds| (1..=Self::MAX_DEADLINE_SECONDS).contains(seconds))
            .ok_or(Invalid(
                "spec.activeDeadlineSeconds must be between 1 and 31536000 (365 days)",
            ))?;
        if !(0..=50).contains(&spec.backoff_limit) {
            return Err(Invalid("spec.backoffLimit must be between 0 and 50"));
        }
        Ok(Self {
            uid: metadata.uid.clone().ok_or(Invalid("metadata.uid is missing"))?,
            generation: metadata.generation.unwrap_or_default(),
            created: metadata
                .creation_timestamp
                .as_ref()
                .map(|time| time.0)
                .ok_or(Invalid("metadata.creationTimestamp is missing"))?,
            termination: Termination {
                guest: GuestId::parse(&spec.guest_id)?,
                reason: spec.reason,
                retain_data: spec.retain_data,
                external_ref: spec.external_ref.as_deref().map(ExternalRef::parse).transpose()?,
            },
            not_after: spec.not_after.as_ref().map(|time| time.0),
            suspend: spec.suspend,
            backoff_limit: spec.backoff_limit,
            active_deadline: Duration::from_secs(deadline),
        })
    }
}
