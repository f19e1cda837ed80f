//! The vendor's sessions: one guest id, its lives, and the script of how they end and come back.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::api::{AfterTermination, Guest, GuestSpec, ReturnWhen};

/// The state in which a session can be terminated.
pub(crate) const ACTIVE: &str = "active";

/// One instant, on the clock that counts and on the one that is shown.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) wall: Timestamp,
}

/// A guest id at the vendor.
pub(crate) struct Session {
    spec: GuestSpec,
    /// `None`: removed.
    state: Option<String>,
    incarnation: u32,
    updated: Timestamp,
    ended: Option<Instant>,
    calls_since_end: u32,
    returns_left: u32,
    /// A 202 was answered for this incarnation.
    accepted: bool,
    /// What looks are told until then, although the session ended.
    veil: Option<Veil>,
}

struct Veil {
    until: Instant,
    updated: Timestamp,
}

/// What a call for termination does.
pub(crate) enum Termination {
    /// The session ended by this call.
    Ended,
    /// There was no active session.
    NotActive,
    /// It will end that much later; `None`: nothing new was scheduled.
    Accepted { ends_after: Option<Duration> },
}

impl Session {
    pub(crate) fn new(spec: GuestSpec, now: Now) -> Self {
        Self {
            state: Some(spec.state.clone()),
            incarnation: 1,
            updated: now.wall,
            ended: (spec.state != ACTIVE).then_some(now.instant),
            calls_since_end: 0,
            returns_left: spec.returns.map_or(0, |rule| rule.times),
            accepted: false,
            veil: None,
            spec,
        }
    }

    /// Takes a new script; an active session after one that is over is a new life.
    pub(crate) fn replace(&mut self, spec: GuestSpec, now: Now) {
        let returned = !self.is_active() && spec.state == ACTIVE;
        let incarnation = self.incarnation + u32::from(returned);
        *self = Self {
            incarnation,
            ..Self::new(spec, now)
        };
    }

    pub(crate) fn is_active(&self) -> bool {
        self.state.as_deref() == Some(ACTIVE)
    }

    pub(crate) fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// A call arrives at the session: a guest whose time has come is back before it is answered.
    pub(crate) fn meet(&mut self, now: Now) {
        let (Some(rule), Some(ended), false) = (self.spec.returns, self.ended, self.is_active()) else {
            return;
        };
        let due = match rule.when {
            ReturnWhen::Immediately => true,
            ReturnWhen::AfterCalls(calls) => self.calls_since_end >= calls,
            ReturnWhen::AfterMillis(millis) => now.instant >= ended + Duration::from_millis(millis),
        };
        self.calls_since_end = self.calls_since_end.saturating_add(1);
        if due && self.returns_left > 0 {
            self.returns_left -= 1;
            self.come_back(now);
        }
    }

    /// What a look is told: state and last update; `None`: there is no such session.
    pub(crate) fn told(&self, now: Now) -> Option<(&str, Timestamp)> {
        match &self.veil {
            Some(veil) if now.instant < veil.until => Some((ACTIVE, veil.updated)),
            _ => self.state.as_deref().map(|state| (state, self.updated)),
        }
    }

    pub(crate) fn terminate(&mut self, default: AfterTermination, now: Now) -> Termination {
        if !self.is_active() {
            return Termination::NotActive;
        }
        match self.spec.accept {
            None => {
                self.end(self.spec.after.unwrap_or(default), now);
                Termination::Ended
            }
            Some(accept) => {
                let first = !std::mem::replace(&mut self.accepted, true);
                let ends_after = accept.ends_after_ms.filter(|_| first).map(Duration::from_millis);
                Termination::Accepted { ends_after }
            }
        }
    }

    /// An accepted termination comes due; `false` if that life of the session is over anyway.
    pub(crate) fn end_accepted(&mut self, incarnation: u32, default: AfterTermination, now: Now) -> bool {
        let due = self.is_active() && self.incarnation == incarnation;
        if due {
            self.end(self.spec.after.unwrap_or(default), now);
        }
        due
    }

    pub(crate) fn end(&mut self, leaving: AfterTermination, now: Now) {
        if self.spec.effect_lag_ms > 0 && self.is_active() {
            let until = now.instant + Duration::from_millis(self.spec.effect_lag_ms);
            self.veil = Some(Veil {
                until,
                updated: self.updated,
            });
        }
        self.state = match leaving {
            AfterTermination::Closed => Some("closed".to_owned()),
            AfterTermination::Gone => None,
        };
        self.updated = now.wall;
        self.ended = Some(now.instant);
        self.calls_since_end = 0;
        if self.returns_left > 0
            && self
                .spec
                .returns
                .is_some_and(|rule| rule.when == ReturnWhen::Immediately)
        {
            self.returns_left -= 1;
            self.come_back(now);
        }
    }

    /// A new life under the same id.
    pub(crate) fn come_back(&mut self, now: Now) {
        self.state = Some(ACTIVE.to_owned());
        self.incarnation += 1;
        self.updated = now.wall;
        self.ended = None;
        self.accepted = false;
    }

    pub(crate) fn view(&self) -> Guest {
        Guest {
            id: self.spec.id.clone(),
            state: self.state.clone(),
            incarnation: self.incarnation,
        }
    }
}
