//! The seven effects, and what can befall each of them.

/// What a process does to the world outside of it. Its start is none of the seven: it is where a stale read does harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    IntentWrite,
    Observe,
    Terminate,
    ResultWrite,
    Webhook,
    DeliveredWrite,
    Event,
    Start,
}

/// One of the eight kinds of fault; where an error can have several faces that the core tells apart, with its face.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    CrashBefore,
    CrashAfter,
    AnswerLost,
    ErrorWithoutEffect(Face),
    ErrorWithEffect(Face),
    LateEffect(Face),
    StaleRead,
    Conflict,
}

/// What an error looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    /// No answer in time.
    Timeout,
    /// 503, or 500 of the API server or an endpoint.
    Unavailable,
    /// 429, with a pause.
    Throttled,
    /// 403.
    Forbidden,
    /// 400, in the vendor's error shape.
    Refused,
    /// An HTML page of somebody in between: with 404, or with 200 where the call went through.
    Foreign,
    /// No connection.
    Unreachable,
    /// 202.
    Accepted,
    /// A state that nobody knows, or 410 of an endpoint.
    Odd,
}

/// How much is told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// The eight kinds of fault.
    Kinds,
    /// Every face of an error too.
    Faces,
}

impl Fault {
    /// Whether it is its kind's own face.
    fn is_plain(self) -> bool {
        match self {
            Self::ErrorWithoutEffect(face) | Self::ErrorWithEffect(face) => face == Face::Unavailable,
            Self::LateEffect(face) => face == Face::Timeout,
            _ => true,
        }
    }
}

impl Effect {
    /// The faults that can befall it.
    pub(super) fn faults(self, detail: Detail) -> impl Iterator<Item = Fault> {
        let all = self.all_faults().iter().copied();
        all.filter(move |fault| detail == Detail::Faces || fault.is_plain())
    }

    /// Every fault that can befall it.
    fn all_faults(self) -> &'static [Fault] {
        use Face::*;
        use Fault::*;
        match self {
            Self::Start => &[StaleRead],
            Self::Observe => &[
                CrashBefore,
                CrashAfter,
                AnswerLost,
                ErrorWithoutEffect(Unavailable),
                ErrorWithoutEffect(Throttled),
                ErrorWithoutEffect(Forbidden),
                ErrorWithoutEffect(Refused),
                ErrorWithoutEffect(Foreign),
                ErrorWithoutEffect(Odd),
                StaleRead,
                Conflict,
            ],
            Self::Terminate => &[
                CrashBefore,
                CrashAfter,
                AnswerLost,
                ErrorWithoutEffect(Timeout),
                ErrorWithoutEffect(Unavailable),
                ErrorWithoutEffect(Throttled),
                ErrorWithoutEffect(Forbidden),
                ErrorWithoutEffect(Refused),
                ErrorWithoutEffect(Foreign),
                ErrorWithoutEffect(Unreachable),
                ErrorWithoutEffect(Accepted),
                ErrorWithEffect(Unavailable),
                ErrorWithEffect(Foreign),
                ErrorWithEffect(Accepted),
                LateEffect(Timeout),
                LateEffect(Accepted),
                StaleRead,
                Conflict,
            ],
            Self::IntentWrite | Self::ResultWrite | Self::DeliveredWrite => &[
                CrashBefore,
                CrashAfter,
                AnswerLost,
                ErrorWithoutEffect(Unavailable),
                ErrorWithoutEffect(Throttled),
                ErrorWithoutEffect(Forbidden),
                ErrorWithEffect(Unavailable),
                LateEffect(Timeout),
                StaleRead,
                Conflict,
            ],
            Self::Webhook => &[
                CrashBefore,
                CrashAfter,
                AnswerLost,
                ErrorWithoutEffect(Unavailable),
                ErrorWithoutEffect(Odd),
                ErrorWithEffect(Unavailable),
                LateEffect(Timeout),
                StaleRead,
                Conflict,
            ],
            // Nobody waits for its answer.
            Self::Event => &[
                CrashBefore,
                CrashAfter,
                AnswerLost,
                ErrorWithoutEffect(Unavailable),
                ErrorWithEffect(Unavailable),
                LateEffect(Timeout),
                StaleRead,
                Conflict,
            ],
        }
    }
}
