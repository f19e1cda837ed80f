//! The steps of a pass that speak to the vendor: the look, the intent, and the call through the send fence.

use super::{
    connections::View,
    findings::{Finding, call_health, look_health},
    index::{Holds, OwnIntent, SeenLook},
    pass::{Flow, Pass, Sight},
    record::Recorded,
};
use crate::{
    clock::Reading,
    genesys::{AccessToken, Target},
    schedule::breaker::Operation,
    telemetry::metrics,
    termination::{
        answer::{Call, Evidence, Failure, Look, SessionSeen},
        deadline::proves_route,
        evolve::evolve,
        fact::{AttemptSent, Context, Fact},
        fence::{AtTheSocket, fence},
        instants, messages,
    },
};

impl Pass<'_> {
    /// Looks at the session.
    pub(super) async fn observe(&mut self, sight: &Sight, view: &View) -> Flow {
        self.shared.check_secrets(&sight.name).await;
        let Some((target, token)) = self.token(sight, view).await else {
            return Flow::Over(self.ask(sight));
        };
        if !self.may_look(sight, view) {
            return Flow::Over(self.ask(sight));
        }
        let guest = &sight.request.termination.guest;
        self.tokens -= 1;
        let mut asked = self.shared.reading();
        let mut answer = self.shared.vendor.observe(&target, &token, guest).await;
        self.count(metrics::Operation::Observe, (&answer.verdict).into(), &answer.evidence);
        let refused = matches!(answer.verdict, Look::Failed(Failure::Unauthorized));
        if refused {
            // Refresh once, repeat once: the token may just have died.
            view.tokens.refused(&token);
            let Some((target, token)) = self.token(sight, view).await else {
                return Flow::Over(self.ask(sight));
            };
            if self.tokens == 0 || !self.may_look(sight, view) {
                return Flow::Over(self.ask(sight));
            }
            self.tokens -= 1;
            asked = self.shared.reading();
            answer = self.shared.vendor.observe(&target, &token, guest).await;
            self.count(metrics::Operation::Observe, (&answer.verdict).into(), &answer.evidence);
            if matches!(answer.verdict, Look::Failed(Failure::Unauthorized)) {
                view.tokens.refused(&token);
            }
        }
        let (now, jitter) = (self.shared.now(), self.shared.chance.share());
        let status = sight.entry.status();
        let failure = match &answer.verdict {
            Look::Failed(failure) => Some(*failure),
            _ => None,
        };
        let route_proven = view.believes_not_found || proves_route(&status);
        let health = look_health(&answer.verdict, route_proven);
        let finding = Finding {
            uid: &self.uid,
            probe: self.is_probe(),
            operation: Operation::Observe,
            health,
            failure,
            trouble: match &answer.verdict {
                Look::Unclear(seen) => Some(messages::unclear(&seen.state)),
                Look::Failed(failure) => Some(messages::look_failed(*failure, &answer.evidence, &view.pin)),
                Look::Active(_) | Look::Ended(_) => None,
            },
            evidence: &answer.evidence,
        };
        let spends = self.shared.take_in(&sight.name, view, finding);
        self.looked_in_vain = matches!(answer.verdict, Look::Unclear(_) | Look::Failed(_));
        if matches!(answer.verdict, Look::Active(_) | Look::Ended(_) | Look::Unclear(_)) {
            self.shared.change_connection(&sight.name, |connection| {
                if connection.uid == view.uid {
                    connection.proven = true;
                }
            });
        }
        self.remember_look(view, &answer.verdict, asked, jitter);
        let context = Context {
            connection: view.pin.clone(),
            webhooks: view.announcements.clone(),
            spends,
            jitter,
        };
        let fact = Fact::Looked {
            answer,
            route_proven,
            context,
        };
        if evolve(&sight.request, &status, &fact, now, &self.shared.settings.policy) != status {
            self.keep(fact);
        }
        Flow::On
    }

    /// Whether a look may still leave: the token may have been long in coming, and a pause, the user's own hold or the end
    /// of the term came in between.
    fn may_look(&self, sight: &Sight, view: &View) -> bool {
        if !self.leads() {
            return false;
        }
        let moment = self.shared.moment();
        let mut state = self.shared.lock();
        let held = state
            .connections
            .get(&sight.name)
            .is_none_or(|connection| connection.uid != view.uid || connection.hold(true).is_some());
        !held && state.queue.lane(&view.uid).is_some_and(|lane| !lane.is_paused(moment))
    }

    fn remember_look(&self, view: &View, verdict: &Look, asked: Reading, jitter: f64) {
        let answered = self.shared.moment();
        let mut state = self.shared.lock();
        let Some(entry) = state.index.get_mut(&self.uid) else {
            return;
        };
        let before = entry.memory.look.as_ref().map_or(0, |look| look.failures);
        let failed = matches!(verdict, Look::Failed(_) | Look::Unclear(_));
        entry.memory.asked = true;
        entry.memory.reconsider = false;
        entry.memory.look = Some(SeenLook {
            verdict: verdict.clone(),
            connection: view.uid.clone(),
            asked,
            answered,
            failures: if failed { before.saturating_add(1) } else { 0 },
            jitter,
        });
    }

    /// Writes the intent of a call. Only a write that was begun by this process and answered with success lets the call
    /// leave.
    pub(super) async fn intend(&mut self, sight: &Sight, view: &View, session: SessionSeen) -> Flow {
        let id = self.shared.chance.id();
        let (now, moment) = (self.shared.now(), self.shared.moment());
        let fact = Fact::Intended {
            id: id.clone(),
            holder: self.shared.holder.clone(),
            session,
            connection: view.pin.clone(),
        };
        let next = evolve(
            &sight.request,
            &sight.entry.status(),
            &fact,
            now,
            &self.shared.settings.policy,
        );
        if let Some(entry) = self.shared.lock().index.get_mut(&self.uid) {
            entry.memory.intent = Some(OwnIntent {
                id: id.clone(),
                began: now,
                began_moment: moment,
                in_flight: false,
            });
            let why = "The write of the intent was not answered; the call was not sent.";
            entry.memory.withheld.insert(id.clone(), why.to_owned());
        }
        let old = sight.entry.status();
        let recorded = self
            .shared
            .write_status(&self.uid, &sight.entry.object, next.clone(), Holds::Intent)
            .await;
        let mut withheld = None;
        if recorded == Recorded::Written {
            let records = crate::termination::records::between(&sight.entry.object, &old, &next, self.shared.now());
            if self.shared.announce(&self.uid, &records).is_err() {
                withheld = Some("The audit line of the call could not be written; the call was not sent.");
            }
        }
        if let Some(entry) = self.shared.lock().index.get_mut(&self.uid) {
            match (&recorded, withheld) {
                (Recorded::Written, None) => {
                    entry.memory.withheld.remove(&id);
                    // The look is used up: after the call, whatever comes of it, another one is made.
                    entry.memory.look = None;
                }
                (Recorded::Written, Some(why)) => {
                    entry.memory.withheld.insert(id, why.to_owned());
                }
                // It may be stored all the same, and its call will not leave.
                (Recorded::Unknown(_) | Recorded::Overtaken, _) => {}
                _ => {
                    entry.memory.withheld.remove(&id);
                    entry.memory.intent = None;
                }
            }
        }
        self.after(recorded)
    }

    /// Sends the call of the own, just written intent.
    pub(super) async fn call(&mut self, sight: &Sight) -> Flow {
        let Some(view) = self.leave(sight) else {
            return self.withhold("No call is left in this pass's allowance; the call was not sent.");
        };
        let Some((target, token)) = self.token(sight, &view).await else {
            return self.withhold("No access token can be had; the call was not sent.");
        };
        let (own, number) = match self.pass_fence(&view, false) {
            Ok(own) => own,
            Err(why) => return self.withhold(why),
        };
        let termination = &sight.request.termination;
        let mut sent = self.shared.reading();
        self.tokens -= 1;
        let mut answer = self.shared.vendor.terminate(&target, &token, termination).await;
        self.count(
            metrics::Operation::Terminate,
            (&answer.verdict).into(),
            &answer.evidence,
        );
        if matches!(answer.verdict, Call::Failed(Failure::Unauthorized)) {
            // Refresh once, repeat once, as another send under the same intent.
            view.tokens.refused(&token);
            let fresh = self.token(sight, &view).await;
            let may = fresh.is_some() && self.extra(&view);
            let fenced = may
                && self
                    .pass_fence(&view, true)
                    .inspect_err(|_| self.give_back(&view))
                    .is_ok();
            if let (Some((target, token)), true) = (fresh, fenced) {
                sent = self.shared.reading();
                answer = self.shared.vendor.terminate(&target, &token, termination).await;
                self.count(
                    metrics::Operation::Terminate,
                    (&answer.verdict).into(),
                    &answer.evidence,
                );
                if matches!(answer.verdict, Call::Failed(Failure::Unauthorized)) {
                    view.tokens.refused(&token);
                }
            } else {
                // No fresh token was tried: nobody can say that the credentials are refused.
                answer.verdict = Call::Failed(Failure::TokenDied);
            }
        }
        let failure = match &answer.verdict {
            Call::Failed(failure) => Some(*failure),
            _ => None,
        };
        let finding = Finding {
            uid: &self.uid,
            probe: self.is_probe(),
            operation: Operation::Terminate,
            health: call_health(&answer.verdict),
            failure,
            trouble: failure.map(|failure| messages::call_failed(failure, &answer.evidence, &view.pin)),
            evidence: &answer.evidence,
        };
        let spends = self.shared.take_in(&sight.name, &view, finding);
        let attempt = AttemptSent {
            id: own.id,
            number,
            started_at: own.began,
            sent_at: sent.wall,
        };
        let context = Context {
            connection: view.pin.clone(),
            webhooks: view.announcements.clone(),
            spends,
            jitter: self.shared.chance.share(),
        };
        if let Some(entry) = self.shared.lock().index.get_mut(&self.uid) {
            entry.memory.kept = Some(Fact::Called {
                attempt,
                answer,
                context,
            });
            entry.memory.intent = None;
            // At the socket; the fence, which dates it should no answer come, is a moment before.
            entry.memory.moments.sent(sent);
        }
        Flow::On
    }

    /// The send fence, the last thing before the socket. From here on the intent's call counts as sent.
    fn pass_fence(&self, view: &View, repeat: bool) -> Result<(OwnIntent, i32), &'static str> {
        let reading = self.shared.reading();
        let (now, moment) = (reading.wall, reading.monotonic);
        let mut state = self.shared.lock();
        let gone = "The object is no longer known; the call was not sent.";
        let entry = state.index.get(&self.uid).ok_or(gone)?;
        let own = entry.memory.intent.clone().ok_or(gone)?;
        let request = entry
            .request
            .clone()
            .map_err(|_| "The spec became invalid; the call was not sent.")?;
        let status = entry.status();
        let wall = instants::between(own.began, now);
        let pinned = status.connection.as_ref();
        let resolved = state.connections.resolve(&entry.connection(), pinned, &self.uid, true);
        let paused = state
            .queue
            .lane_of(&view.uid)
            .is_some_and(|lane| lane.is_paused(moment));
        let at = AtTheSocket {
            paused,
            since_intent: moment.saturating_sub(own.began_moment).max(wall),
            leading: self.leads(),
            deleted: entry.is_leaving() || entry.doubtful,
            held: resolved.held.as_ref(),
            intent: &own.id,
        };
        fence(&request, &status, at, now, &self.shared.settings.policy)?;
        if own.in_flight && !repeat {
            return Err("The call of this intent has left before; it was not sent again.");
        }
        let number = status
            .current_attempt
            .as_ref()
            .map_or(status.attempts, |open| open.number);
        if let Some(memory) = state.index.get_mut(&self.uid).map(|entry| &mut entry.memory) {
            memory.moments.sent(reading);
            if let Some(intent) = &mut memory.intent {
                intent.in_flight = true;
            }
        }
        Ok((own, number))
    }

    /// The call of the own intent will not leave.
    fn withhold(&self, why: &str) -> Flow {
        if let Some(entry) = self.shared.lock().index.get_mut(&self.uid)
            && let Some(own) = &entry.memory.intent
        {
            let id = own.id.clone();
            entry.memory.withheld.insert(id, why.to_owned());
        }
        Flow::On
    }

    /// One more call than the pass has tokens for.
    fn extra(&self, view: &View) -> bool {
        let moment = self.shared.moment();
        self.shared
            .lock()
            .queue
            .lane(&view.uid)
            .is_some_and(|lane| lane.extra(moment))
    }

    /// The one more call was not made.
    fn give_back(&self, view: &View) {
        let moment = self.shared.moment();
        if let Some(lane) = self.shared.lock().queue.lane(&view.uid) {
            lane.give_back(moment);
        }
    }

    /// A token, and where to use it. Without one, the connection knows why.
    async fn token(&self, sight: &Sight, view: &View) -> Option<(Target, AccessToken)> {
        // The Secret may have been read since the pass began.
        let fresh = {
            let state = self.shared.lock();
            let connection = state
                .connections
                .get(&sight.name)
                .filter(|connection| connection.uid == view.uid)?;
            (connection.target()?, connection.credentials.clone()?)
        };
        self.shared
            .token(&sight.name, &fresh.0, &fresh.1, view)
            .await
            .map(|token| (fresh.0, token))
    }

    fn is_probe(&self) -> bool {
        self.grant.as_ref().is_some_and(|(_, grant)| grant.probe)
    }

    fn count(&self, operation: metrics::Operation, class: metrics::VendorClass, evidence: &Evidence) {
        self.shared.metrics.vendor_call(operation, class, evidence.duration);
    }
}
