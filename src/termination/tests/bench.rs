//! One termination on the bench: its status, the time, and what its process remembers.

use std::time::Duration;

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use serde_json::json;

use crate::{
    api::{
        Api, AttemptRecord, ConnectionKind, GuestTermination, GuestTerminationSpec, GuestTerminationStatus as Status,
        Outcome, Phase, PinnedConnection, Reason, WebhookEvent, WebhookFormat,
        conditions::{ConditionReason, ConditionType, find},
    },
    termination::{
        answer::{Answer, Call, Evidence, Failure, Look, SessionSeen, Suspicion, Unreachable},
        deadline::{decisive_from, proves_route},
        decide::{Intent, LastLook, Observed, Step, Wake, decide},
        evolve::evolve,
        fact::{Announcement, AttemptSent, Context, Fact, Hold},
        instants,
        policy::Policy,
        request::Request,
    },
};

/// The instant at which every object here was created.
pub(super) const CREATED: i64 = 1_767_225_600;

/// So many seconds after the object's creation.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(CREATED + seconds).unwrap()
}

pub(super) fn object() -> GuestTermination {
    GuestTermination {
        metadata: ObjectMeta {
            name: Some("guest".to_owned()),
            namespace: Some("care".to_owned()),
            uid: Some("uid-1".to_owned()),
            generation: Some(1),
            creation_timestamp: Some(Time(at(0))),
            ..ObjectMeta::default()
        },
        spec: GuestTerminationSpec {
            guest_id: "guest-12345-abcde".to_owned(),
            reason: Reason::CustomerInitiated,
            retain_data: true,
            external_ref: Some("ext-ref-98765".to_owned()),
            connection_ref: None,
            not_after: None,
            suspend: false,
            backoff_limit: 6,
            active_deadline_seconds: 21_600,
        },
        status: None,
    }
}

pub(super) fn connection(uid: &str) -> PinnedConnection {
    PinnedConnection {
        kind: ConnectionKind::GenesysConnection,
        name: "prod-eu".to_owned(),
        uid: uid.to_owned(),
        api: Api::WebMessagingGuests,
        host: "api.example.com".to_owned(),
        rest: Default::default(),
    }
}

pub(super) fn hold(reason: ConditionReason) -> Hold {
    Hold {
        reason,
        message: "What is wrong, and what to do.".to_owned(),
    }
}

pub(super) fn active() -> Look {
    Look::Active(seen("active"))
}

pub(super) fn ended() -> Look {
    Look::Ended(seen("closed"))
}

pub(super) fn seen(state: &str) -> SessionSeen {
    SessionSeen {
        state: state.to_owned(),
        last_updated: Some("2026-01-01T00:00:00Z".to_owned()),
    }
}

/// An answer with that status and, in the vendor's error shape, that code.
pub(super) fn answer<V>(verdict: V, http_status: Option<u16>, error_code: Option<&str>) -> Answer<V> {
    Answer {
        verdict,
        evidence: Evidence {
            http_status,
            error_code: error_code.map(str::to_owned),
            correlation_id: Some("correlation-1".to_owned()),
            retry_after: None,
            allowed: Some(300),
            duration: Duration::from_millis(120),
        },
    }
}

/// Every failure, with the status and the code that the vendor's client reads it from.
pub(super) fn failures() -> Vec<(Failure, Option<u16>, Option<&'static str>)> {
    let suspicious = Failure::Suspicious;
    vec![
        (Failure::NotFound { conclusive: false }, Some(404), Some("not.found")),
        (
            Failure::NotFound { conclusive: true },
            Some(404),
            Some("conversation.error.conversation.not.found"),
        ),
        (Failure::NotFound { conclusive: false }, Some(410), None),
        (Failure::Refused, Some(400), Some("bad.request")),
        (Failure::Refused, Some(405), Some("method.not.allowed")),
        (Failure::Refused, Some(413), Some("too.large")),
        (Failure::Refused, Some(414), Some("too.long")),
        (Failure::Refused, Some(415), Some("unsupported.media.type")),
        (Failure::Refused, Some(422), Some("unprocessable")),
        (Failure::Refused, Some(418), Some("teapot")),
        (suspicious(Suspicion::ForeignNotFound), Some(404), None),
        (suspicious(Suspicion::ForeignError), Some(400), None),
        (suspicious(Suspicion::Redirect), Some(302), None),
        (suspicious(Suspicion::ProxyAuthentication), Some(407), None),
        (suspicious(Suspicion::WrongBody), Some(200), None),
        (suspicious(Suspicion::OtherGuest), Some(200), None),
        (Failure::Unauthorized, Some(401), Some("bad.credentials")),
        (Failure::Unauthorized, Some(401), None),
        (Failure::TokenDied, Some(401), Some("bad.credentials")),
        (Failure::TokenDied, Some(401), None),
        (Failure::Forbidden, Some(403), Some("missing.permissions")),
        (Failure::Forbidden, Some(403), None),
        (Failure::Throttled, Some(429), Some("too.many.requests")),
        (Failure::Throttled, Some(429), None),
        (Failure::Transient, Some(408), Some("request.timeout")),
        (Failure::Transient, Some(425), None),
        (Failure::Transient, Some(500), Some("internal.server.error")),
        (Failure::Transient, Some(503), Some("service.unavailable")),
        (Failure::Transient, Some(503), None),
        (Failure::Unreachable(Unreachable::Connect), None, None),
        (Failure::Unreachable(Unreachable::Tls), None, None),
        (Failure::Unanswered, None, None),
        (Failure::Unanswered, Some(409), Some("conflict")),
    ]
}

/// Whose the open intent is, in the memory of the process.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Own {
    /// Not this process's.
    None,
    Written,
    Withheld(&'static str),
    InFlight,
}

#[derive(Clone, Debug)]
pub(super) struct Bench {
    pub(super) object: GuestTermination,
    pub(super) status: Status,
    pub(super) now: Timestamp,
    pub(super) policy: Policy,
    pub(super) context: Context,
    pub(super) route_proven: bool,
    pub(super) held: Option<Hold>,
    /// The last look: what it saw, when it was answered, and how many in a row said nothing.
    pub(super) look: Option<(Look, Timestamp, u32)>,
    /// How long a look is on its way.
    pub(super) took: Duration,
    /// From when a look decides by the word of the status, where that is another one than what this process knows.
    pub(super) look_from: Option<Timestamp>,
    pub(super) own: Own,
    /// Since when the open intent is known to this process.
    pub(super) intent_since: Timestamp,
    /// When the last call left.
    pub(super) sent_at: Timestamp,
}

impl Bench {
    /// An object that the operator has just seen, a second after its creation.
    pub(super) fn new() -> Self {
        Self::of(object())
    }

    pub(super) fn of(object: GuestTermination) -> Self {
        let status = json!({"observedGeneration": -1, "phase": "Pending", "aNewerField": {"kept": true}});
        Self {
            object,
            status: serde_json::from_value(status).unwrap(),
            now: at(1),
            policy: Policy::default(),
            context: Context {
                connection: connection("connection-1"),
                webhooks: vec![Announcement {
                    name: "analytics".to_owned(),
                    event: WebhookEvent::SessionTerminated,
                    format: WebhookFormat::Flat,
                    message_id: "msg_1".to_owned(),
                }],
                spends: true,
                jitter: 0.5,
            },
            route_proven: false,
            held: None,
            look: None,
            took: Duration::ZERO,
            look_from: None,
            own: Own::None,
            intent_since: at(1),
            sent_at: at(1),
        }
    }

    /// A change of the spec, as a user makes it.
    pub(super) fn edit(&mut self, change: impl FnOnce(&mut GuestTerminationSpec)) {
        change(&mut self.object.spec);
        *self.object.metadata.generation.get_or_insert(0) += 1;
    }

    pub(super) fn request(&self) -> Request {
        Request::parse(&self.object).unwrap()
    }

    pub(super) fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now = instants::later(self.now, Duration::from_secs(seconds));
        self
    }

    /// The next step.
    pub(super) fn step(&self) -> Step {
        let look = self.look.clone().map(|(verdict, at, failures)| LastLook {
            verdict,
            at: at - self.took,
            age: instants::between(at - self.took, self.now),
            since_answered: instants::between(at, self.now),
            failures,
            jitter: 0.5,
        });
        let seen = Observed {
            kept: None,
            held: self.held.as_ref(),
            intent: match self.own {
                Own::None => Intent::Foreign {
                    unchanged_for: instants::between(self.intent_since, self.now),
                },
                Own::Written => Intent::Written,
                Own::Withheld(why) => Intent::Withheld { why },
                Own::InFlight => Intent::InFlight,
            },
            look: look.as_ref(),
            look_from: self
                .look_from
                .unwrap_or_else(|| decisive_from(&self.status, &self.policy)),
            jitter: 0.5,
        };
        decide(&self.request(), &self.status, &seen, self.now, &self.policy)
    }

    /// What the step waits for, in seconds after creation, rounded up.
    pub(super) fn waits_until(&self) -> Option<i64> {
        match self.step() {
            Step::Wait(Wake { at, .. }) => at.map(|at| instants::ceiling(at).0.as_second() - CREATED),
            step => panic!("{step:?} is no wait"),
        }
    }

    /// The status takes a fact in.
    pub(super) fn take(&mut self, fact: &Fact) -> &mut Self {
        self.status = evolve(&self.request(), &self.status, fact, self.now, &self.policy);
        self
    }

    /// Carries out records until the step is another one.
    pub(super) fn record(&mut self) -> &mut Self {
        for _ in 0..8 {
            let Step::Record(fact) = self.step() else { return self };
            self.take(&fact);
        }
        panic!("it records for ever: {:?}", self.step());
    }

    /// A look is answered.
    pub(super) fn looked(&mut self, answer: Answer<Look>) -> &mut Self {
        let failures = self.look.as_ref().map_or(0, |(_, _, failures)| *failures);
        let failed = matches!(answer.verdict, Look::Failed(_) | Look::Unclear(_));
        self.look = Some((answer.verdict.clone(), self.now, if failed { failures + 1 } else { 0 }));
        self.take(&Fact::Looked {
            answer,
            route_proven: self.route_proven || proves_route(&self.status),
            context: self.context.clone(),
        })
    }

    pub(super) fn looks(&mut self, look: Look) -> &mut Self {
        self.looked(answer(look, Some(200), None))
    }

    /// A look that was due and got no answer.
    pub(super) fn looks_in_vain(&mut self) -> &mut Self {
        assert_eq!(self.step(), Step::Look);
        self.looked(answer(Look::Failed(Failure::Unanswered), None, None))
    }

    /// Writes an intent, whatever the step is.
    pub(super) fn intend(&mut self) -> &mut Self {
        let id = format!("attempt-{}", self.status.attempts + 1);
        self.take(&Fact::Intended {
            id,
            holder: "process-1".to_owned(),
            session: seen("active"),
            connection: self.context.connection.clone(),
        });
        self.own = Own::Written;
        self.intent_since = self.now;
        self
    }

    /// The open attempt's call, sent now.
    pub(super) fn send(&mut self) -> AttemptSent {
        let open = self.status.current_attempt.clone().unwrap();
        self.own = Own::InFlight;
        self.sent_at = self.now;
        AttemptSent {
            id: open.id,
            number: open.number,
            started_at: open.started_at.0,
            sent_at: self.now,
        }
    }

    pub(super) fn called(&mut self, attempt: AttemptSent, answer: Answer<Call>) -> &mut Self {
        self.own = Own::None;
        self.take(&Fact::Called {
            attempt,
            answer,
            context: self.context.clone(),
        })
    }

    /// The whole way of an attempt: intent, call, answer.
    pub(super) fn attempt(&mut self, answer: Answer<Call>) -> &mut Self {
        let sent = self.intend().send();
        self.called(sent, answer)
    }

    /// An attempt whose call got no answer.
    pub(super) fn attempt_in_vain(&mut self) -> &mut Self {
        self.attempt(answer(Call::Failed(Failure::Unanswered), None, None))
    }

    /// Another process comes in place of this one: what was remembered is forgotten.
    pub(super) fn restart(&mut self) -> &mut Self {
        self.look = None;
        self.own = Own::None;
        self.intent_since = self.now;
        self
    }

    pub(super) fn outcome(&self) -> Option<Outcome> {
        assert_eq!(self.status.outcome.is_some(), self.status.is_finished());
        self.status.outcome
    }

    pub(super) fn phase(&self) -> Option<Phase> {
        self.status.phase
    }

    /// A condition as `Status Reason`, or `-`.
    pub(super) fn condition(&self, type_: ConditionType) -> String {
        find(&self.status.conditions, type_).map_or_else(
            || "-".to_owned(),
            |condition| format!("{} {}", condition.status, condition.reason),
        )
    }

    pub(super) fn message(&self, type_: ConditionType) -> &str {
        find(&self.status.conditions, type_).map_or("", |condition| condition.message.as_str())
    }

    pub(super) fn last(&self) -> &AttemptRecord {
        self.status.history.first().unwrap()
    }

    /// `nextAttemptTime`, in seconds after creation.
    pub(super) fn next_attempt(&self) -> Option<i64> {
        self.status
            .next_attempt_time
            .as_ref()
            .map(|time| time.0.as_second() - CREATED)
    }
}
