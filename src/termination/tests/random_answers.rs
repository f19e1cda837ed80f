//! What the random vendor answers. It may refuse, stall and lose answers, but it never lies about a session.

use std::time::Duration;

use super::{bench::*, driver::Run};
use crate::termination::{
    answer::{Answer, Call, Failure, Look, Suspicion, Unreachable},
    deadline::is_unsure,
    instants,
};

impl Run {
    pub(super) fn look_answer(&mut self) -> Answer<Look> {
        let failed = |failure, status, code| answer(Look::Failed(failure), status, code);
        if self.dead && self.chance.is_used_up() {
            return failed(Failure::Unanswered, None, None);
        }
        let truth = if self.vendor.active { active() } else { ended() };
        match self.chance.pick(16) {
            15 => failed(Failure::Unanswered, None, None),
            14 => {
                let mut late = failed(Failure::Transient, Some(503), Some("service.unavailable"));
                late.evidence.retry_after = Some(Duration::from_secs(40));
                late
            }
            13 => failed(Failure::Throttled, Some(429), Some("too.many.requests")),
            12 => failed(Failure::Unauthorized, Some(401), Some("bad.credentials")),
            11 => failed(Failure::Forbidden, Some(403), Some("missing.permissions")),
            10 => answer(Look::Unclear(seen("parked")), Some(200), None),
            9 => failed(Failure::Suspicious(Suspicion::WrongBody), Some(200), None),
            8 => failed(Failure::Unreachable(Unreachable::Tls), None, None),
            7 if !self.vendor.active => {
                let conclusive = self.chance.one_in(2);
                failed(Failure::NotFound { conclusive }, Some(404), Some("not.found"))
            }
            // A wrong address: the vendor itself answers so for a path that it does not have.
            7 if !self.bench.route_proven && !is_unsure(&self.bench.status) => {
                failed(Failure::NotFound { conclusive: false }, Some(404), Some("not.found"))
            }
            6 if self.chance.one_in(4) => failed(Failure::Refused, Some(400), Some("bad.request")),
            _ => answer(truth, Some(200), None),
        }
    }

    pub(super) fn call_answer(&mut self) -> Answer<Call> {
        let failed = |failure, status, code| answer(Call::Failed(failure), status, code);
        let choice = self.chance.pick(14);
        if choice == 13 {
            // A gateway refused it before it got there.
            return failed(Failure::Unreachable(Unreachable::Connect), None, None);
        }
        if choice == 12 {
            return failed(Failure::Throttled, Some(429), Some("too.many.requests"));
        }
        if !self.vendor.active {
            return failed(Failure::NotFound { conclusive: false }, Some(404), Some("not.found"));
        }
        match choice {
            11 => failed(Failure::Unauthorized, Some(401), Some("bad.credentials")),
            10 => failed(Failure::Forbidden, Some(403), Some("missing.permissions")),
            9 => failed(Failure::Refused, Some(400), Some("bad.request")),
            4..=8 => {
                // Whatever is unknown may have taken effect, now or within the lag, or not at all.
                match self.chance.pick(3) {
                    2 => self.vendor.end_by_us(),
                    1 => {
                        let lag = [1_000, 20_000, 55_000][self.chance.pick(3)];
                        self.vendor
                            .end_at(instants::later(self.bench.now, Duration::from_millis(lag)));
                    }
                    _ => {}
                }
                match choice {
                    4 => answer(Call::Accepted, Some(202), None),
                    5 => failed(Failure::Transient, Some(500), Some("internal.server.error")),
                    6 => failed(Failure::Refused, Some(418), Some("teapot")),
                    7 => failed(Failure::Suspicious(Suspicion::ForeignError), Some(400), None),
                    _ => failed(Failure::Unanswered, Some(409), Some("conflict")),
                }
            }
            _ => {
                self.vendor.end_by_us();
                answer(Call::Applied, Some(204), None)
            }
        }
    }
}
