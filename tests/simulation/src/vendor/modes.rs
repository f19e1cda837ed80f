//! What the vendor does instead of what it was asked.

use super::answers::{Canned, RetryAfter};

/// What becomes of one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It works.
    #[default]
    Works,
    /// This status, without a body or a word.
    Status(u16),
    /// 503.
    Unavailable(Option<RetryAfter>),
    /// 429 in the vendor's error shape, whatever the window says.
    Throttles(Option<RetryAfter>),
    /// There is no such path here.
    NoRoute(NoRoute),
    /// 401 in the vendor's error shape, whatever the token.
    Unauthorized,
    /// 403 in the vendor's error shape.
    Forbidden,
    /// 200 with another guest, whose session is over.
    OtherGuest,
    /// 200 with a page.
    Page,
    /// 200 with JSON that breaks off.
    Garbage,
}

/// How a path that is not there is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute {
    /// As the vendor does: `not.found`, in perfect shape. Once a guest was shown here, as an empty 404 instead: an API
    /// that was there and goes away in the very words of "no such session" cannot be told from sessions that are over,
    /// and nobody promises to.
    Vendors,
    /// 404 without a body or request id.
    Empty,
    /// 404 with a page.
    Page,
    /// 404 with a Kubernetes `Status`.
    Status,
    /// 404 with JSON of a gateway.
    Json,
}

impl NoRoute {
    pub(super) fn canned(self) -> Canned {
        match self {
            Self::Vendors | Self::Empty => Canned::NoRouteEmpty,
            Self::Page => Canned::NoRoutePage,
            Self::Status => Canned::NoRouteStatus,
            Self::Json => Canned::NoRouteJson,
        }
    }
}
