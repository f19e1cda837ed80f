//! One exchange under a deadline and a cap.

use std::{fmt, pin::pin, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use k8s_openapi::jiff::Timestamp;
use tower::ServiceExt;

use super::{Body, HttpService, TransportError, retry_after::retry_after};
use crate::{clock::Clock, termination::answer::Unreachable};

/// The bounds of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// From departure to the last byte that is read.
    pub timeout: Duration,
    /// Bytes of the answer's body that are read. The rest is not.
    pub body_cap: usize,
}

impl Limits {
    /// Calls to the vendor: 10 s, 64 KiB.
    pub const VENDOR: Self = Self {
        timeout: Duration::from_secs(10),
        body_cap: 64 * 1024,
    };

    /// Webhook deliveries: the endpoint's own timeout, 8 KiB.
    pub const fn webhook(timeout: Duration) -> Self {
        Self {
            timeout,
            body_cap: 8 * 1024,
        }
    }
}

/// An answer: at least its head came.
pub struct Received {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// What came of the body, at most the cap.
    pub body: Bytes,
    /// How the body ended.
    pub body_end: BodyEnd,
    /// The wall clock's time when the head came.
    pub received_at: Timestamp,
    /// From departure to the last byte that was read.
    pub duration: Duration,
}

impl Received {
    /// `Retry-After`: seconds, or a date relative to the answer's own `Date`. Between 0 and 48 h; what is no number of
    /// seconds and no date is as good as absent.
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after(&self.headers, self.received_at.into())
    }
}

impl fmt::Debug for Received {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Received")
            .field("status", &self.status)
            .field("body_end", &self.body_end)
            .field("duration", &self.duration)
            .finish_non_exhaustive()
    }
}

/// How the body of an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// All of it came.
    Complete,
    /// It is longer than the cap; the rest was not read.
    OverCap,
    /// The connection broke, or the framing did.
    Interrupted,
    /// The deadline passed first.
    TimedOut,
}

/// Why there is no answer, and how long that took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallError {
    /// Why.
    pub kind: CallErrorKind,
    /// Time from departure to the failure.
    pub duration: Duration,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallErrorKind {
    /// No connection came about: not a byte of the request was sent.
    Unreachable(Unreachable),
    /// The address is not allowed: not a byte was sent.
    Blocked,
    /// Bytes may have been sent: anything may have happened.
    Unanswered(Lost),
}

/// How an answer got lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The deadline passed.
    Timeout,
    /// The connection broke.
    Reset,
}

impl From<TransportError> for CallErrorKind {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Connect => Self::Unreachable(Unreachable::Connect),
            TransportError::Tls => Self::Unreachable(Unreachable::Tls),
            TransportError::Blocked => Self::Blocked,
            TransportError::Interrupted => Self::Unanswered(Lost::Reset),
        }
    }
}

/// Sends one request, once, and reads the answer within the limits.
///
/// # Errors
/// [`CallError`] if not even the answer's head came. A body that breaks off is no error here: what the head says may
/// still be worth knowing, and [`Received::body_end`] tells.
pub async fn send(
    service: &HttpService,
    clock: &dyn Clock,
    request: http::Request<Bytes>,
    limits: Limits,
) -> Result<Received, CallError> {
    let departure = clock.monotonic();
    let elapsed = || clock.monotonic().saturating_sub(departure);
    let mut deadline = clock.sleep(limits.timeout);
    let exchange = service.clone().oneshot(request);
    let head = tokio::select! {
        biased;
        answer = exchange => answer.map_err(CallErrorKind::from),
        () = &mut deadline => Err(CallErrorKind::Unanswered(Lost::Timeout)),
    };
    let (head, body) = match head {
        Ok(response) => response.into_parts(),
        Err(kind) => {
            return Err(CallError {
                kind,
                duration: elapsed(),
            });
        }
    };
    let received_at = clock.now();
    let mut bytes = BytesMut::new();
    let body_end = tokio::select! {
        // The deadline first: a body of which something is always ready must not outrun it.
        biased;
        () = &mut deadline => BodyEnd::TimedOut,
        end = read(body, limits.body_cap, &mut bytes) => end,
    };
    Ok(Received {
        status: head.status,
        headers: head.headers,
        body: bytes.freeze(),
        body_end,
        received_at,
        duration: elapsed(),
    })
}

/// Reads at most `cap` bytes of `body` into `bytes`.
async fn read(body: Body, cap: usize, bytes: &mut BytesMut) -> BodyEnd {
    let mut body = pin!(body);
    loop {
        match body.frame().await {
            None => return BodyEnd::Complete,
            Some(Err(_)) => return BodyEnd::Interrupted,
            Some(Ok(frame)) => {
                // A frame without data holds trailers: they tell nothing that is asked for.
                if let Ok(data) = frame.into_data() {
                    let room = cap - bytes.len();
                    bytes.extend_from_slice(&data[..data.len().min(room)]);
                    if data.len() > room {
                        return BodyEnd::OverCap;
                    }
                }
            }
        }
        // Gives the deadline a look even if the next frame is there already.
        tokio::task::yield_now().await;
    }
}
