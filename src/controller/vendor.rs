//! The steps of a pass that speak to the vendor: the look, the intent, and the call through the send fence.

use k8s_openapi::jiff::Timestamp;

use super::{
    connections::{Standing, View},
    index::{ConnectionName, Holds, OwnIntent, SeenLook},
    pass::{Flow, Pass, Sight},
    record::Recorded,
    shared::Shared,
};
use crate::{
    genesys::{AccessToken, Credentials, Target, TokenFailure},
    schedule::breaker::{Health, Operation},
    telemetry::metrics::{self, TokenResult},
    termination::{
        answer::{Call, Evidence, Failure, Look, SessionSeen},
        evolve::evolve,
        fact::{AttemptSent, Context, Fact},
        fence::{AtTheSocket, fence},
        instants, messages,
    },
};

/// What an answer means for the connection, beside what it means for the object.
struct Finding<'a> {
    operation: Operation,
    health: Health,
    failure: Option<Failure>,
    /// What is wrong, if the answer is a failure of the connection's.
    trouble: Option<String>,
    evidence: &'a Evidence,
}

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
        let mut answer = self.shared.vendor.observe(&target, &token, guest).await;
        self.count(metrics::Operation::Observe, (&answer.verdict).into(), &answer.evidence);
        let refused = matches!(answer.verdict, Look::Failed(Failure::Unauthorized));
        if refused {
            // Refresh once, repeat once: the token may just have died.
            view.tokens.refused(&token);
            let Some((target, token)) = self.token(sight, view).await else {
                return Flow::Over(self.ask(sight));
            };
            if self.tokens == 0 {
                return Flow::Over(self.ask(sight));
            }
            self.tokens -= 1;
            answer = self.shared.vendor.observe(&target, &token, guest).await;
            self.count(metrics::Operation::Observe, (&answer.verdict).into(), &answer.evidence);
            if matches!(answer.verdict, Look::Failed(Failure::Unauthorized)) {
                view.tokens.refused(&token);
            }
        }
        let (now, jitter) = (self.shared.now(), self.shared.chance.share());
        let status = sight.entry.status();
        let unsure = crate::termination::deadline::is_unsure(&status);
        let failure = match &answer.verdict {
            Look::Failed(failure) => Some(*failure),
            _ => None,
        };
        let health = look_health(&answer.verdict, view.believes_not_found || unsure);
        let finding = Finding {
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
        let spends = self.report(sight, view, finding);
        self.looked_in_vain = matches!(answer.verdict, Look::Unclear(_) | Look::Failed(_));
        if matches!(answer.verdict, Look::Active(_) | Look::Ended(_) | Look::Unclear(_)) {
            self.shared.change_connection(&sight.name, |connection| {
                if connection.uid == view.uid {
                    connection.proven = true;
                }
            });
        }
        self.remember_look(view, &answer.verdict, now, jitter);
        let context = Context {
            connection: view.pin.clone(),
            webhooks: view.announcements.clone(),
            spends,
            jitter,
        };
        let fact = Fact::Looked {
            answer,
            route_proven: view.believes_not_found,
            context,
        };
        if evolve(&sight.request, &status, &fact, now, &self.shared.settings.policy) != status {
            self.keep(fact);
        }
        Flow::On
    }

    /// Whether a look may still leave: the token may have been long in coming, and a pause or the user's own hold came
    /// in between.
    fn may_look(&self, sight: &Sight, view: &View) -> bool {
        let moment = self.shared.moment();
        let mut state = self.shared.lock();
        let held = state
            .connections
            .get(&sight.name)
            .is_none_or(|connection| connection.uid != view.uid || connection.hold(true).is_some());
        !held && state.queue.lane(&view.uid).is_some_and(|lane| !lane.is_paused(moment))
    }

    fn remember_look(&self, view: &View, verdict: &Look, now: Timestamp, jitter: f64) {
        let moment = self.shared.moment();
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
            at: now,
            moment,
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
        if let Recorded::Written(_) = recorded {
            let records = crate::termination::records::between(&sight.entry.object, &old, &next, self.shared.now());
            if self.shared.announce(&self.uid, &records).is_err() {
                withheld = Some("The audit line of the call could not be written; the call was not sent.");
            }
        }
        if let Some(entry) = self.shared.lock().index.get_mut(&self.uid) {
            match (&recorded, withheld) {
                (Recorded::Written(_), None) => {
                    entry.memory.withheld.remove(&id);
                    // The look is used up: after the call, whatever comes of it, another one is made.
                    entry.memory.look = None;
                }
                (Recorded::Written(_), Some(why)) => {
                    entry.memory.withheld.insert(id, why.to_owned());
                }
                (Recorded::Unknown(_), _) => {}
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
        let mut sent_at = self.shared.now();
        self.tokens -= 1;
        let mut answer = self.shared.vendor.terminate(&target, &token, termination).await;
        self.count(
            metrics::Operation::Terminate,
            (&answer.verdict).into(),
            &answer.evidence,
        );
        if matches!(answer.verdict, Call::Failed(Failure::Unauthorized)) {
            view.tokens.refused(&token);
            if let Some((target, token)) = self.token(sight, &view).await
                && self.extra(&view)
                && self
                    .pass_fence(&view, true)
                    .inspect_err(|_| self.give_back(&view))
                    .is_ok()
            {
                sent_at = self.shared.now();
                answer = self.shared.vendor.terminate(&target, &token, termination).await;
                self.count(
                    metrics::Operation::Terminate,
                    (&answer.verdict).into(),
                    &answer.evidence,
                );
                if matches!(answer.verdict, Call::Failed(Failure::Unauthorized)) {
                    view.tokens.refused(&token);
                    self.token_refused(sight, &view, &answer.evidence);
                }
            }
        }
        let failure = match &answer.verdict {
            Call::Failed(failure) => Some(*failure),
            _ => None,
        };
        let finding = Finding {
            operation: Operation::Terminate,
            health: call_health(&answer.verdict),
            failure: failure.filter(|failure| *failure != Failure::Unauthorized),
            trouble: failure.map(|failure| messages::call_failed(failure, &answer.evidence, &view.pin)),
            evidence: &answer.evidence,
        };
        let spends = self.report(sight, &view, finding);
        let attempt = AttemptSent {
            id: own.id,
            number,
            started_at: own.began,
            sent_at,
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
        }
        Flow::On
    }

    /// The send fence, the last thing before the socket. From here on the intent's call counts as sent.
    fn pass_fence(&self, view: &View, repeat: bool) -> Result<(OwnIntent, i32), &'static str> {
        let (now, moment) = (self.shared.now(), self.shared.moment());
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
            leading: self.shared.leadership.leads(),
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
        if let Some(intent) = state
            .index
            .get_mut(&self.uid)
            .and_then(|entry| entry.memory.intent.as_mut())
        {
            intent.in_flight = true;
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

    /// Takes in what an answer means for the connection, and says whether a failure spends the object's budget.
    fn report(&self, sight: &Sight, view: &View, finding: Finding<'_>) -> bool {
        let (now, moment) = (self.shared.now(), self.shared.moment());
        let (spends, broken) = {
            let mut state = self.shared.lock();
            let spends = state
                .queue
                .report(&view.uid, &self.uid, finding.operation, finding.health, moment);
            (spends, state.queue.lane(&view.uid).is_some_and(|lane| lane.is_broken()))
        };
        let shared = self.shared;
        let jitter = shared.chance.share();
        let probe = self.grant.as_ref().is_some_and(|(_, grant)| grant.probe);
        let pacing = &shared.settings.pacing;
        let message = |failure| match finding.operation {
            Operation::Observe => messages::look_failed(failure, finding.evidence, &view.pin),
            Operation::Terminate => messages::call_failed(failure, finding.evidence, &view.pin),
        };
        shared.change_connection(&sight.name, |connection| {
            if connection.uid != view.uid {
                return;
            }
            connection.used = true;
            connection.broken = match (broken, finding.health) {
                (false, _) => None,
                (true, Health::Failure) => Some(finding.trouble.clone().unwrap_or_default()),
                // A look that works says nothing of the calls that do not.
                (true, _) => Some(connection.broken.take().unwrap_or_default()),
            };
            if let Some(allowed) = finding.evidence.allowed {
                connection.allowed = Some(allowed);
                connection.allowed_at = moment;
            }
            if finding.health == Health::Success && finding.failure != Some(Failure::Forbidden) {
                connection.succeeded(finding.operation);
            }
            match finding.failure {
                Some(Failure::Throttled) => match finding.evidence.retry_after {
                    Some(pause) => connection.pause(pause, now, moment),
                    None => {
                        let backoff = |row| shared.settings.policy.backoff(row, jitter, None);
                        connection.pause_of_unknown_length(backoff, now, moment);
                    }
                },
                Some(Failure::Forbidden) => {
                    connection.denied(
                        finding.operation,
                        &self.uid,
                        || message(Failure::Forbidden),
                        pacing,
                        moment,
                    );
                }
                Some(Failure::NotFound { .. }) if finding.health == Health::Unproven => connection.unproven = true,
                Some(Failure::Unauthorized) => {
                    connection.token_refused(|| message(Failure::Unauthorized), probe, pacing, moment);
                }
                _ => {}
            }
        });
        spends
    }

    /// A fresh token was refused for a terminate call as well.
    fn token_refused(&self, sight: &Sight, view: &View, evidence: &Evidence) {
        let finding = Finding {
            operation: Operation::Terminate,
            health: Health::Neither,
            failure: Some(Failure::Unauthorized),
            trouble: None,
            evidence,
        };
        self.report(sight, view, finding);
    }

    fn count(&self, operation: metrics::Operation, class: metrics::VendorClass, evidence: &Evidence) {
        self.shared.metrics.vendor_call(operation, class, evidence.duration);
    }
}

impl Shared {
    /// A token of a connection. Without one, the connection knows why, and nobody is let through until it changes.
    pub(super) async fn token(
        &self,
        name: &ConnectionName,
        target: &Target,
        credentials: &Credentials,
        view: &View,
    ) -> Option<AccessToken> {
        let result = view.tokens.token(&self.vendor, target, credentials).await;
        let waits = |standing: &Standing| {
            matches!(
                standing,
                Standing::NotProbed | Standing::Unavailable(_) | Standing::CredentialsInvalid(_)
            )
        };
        let news = {
            let state = self.lock();
            let connection = state
                .connections
                .get(name)
                .filter(|connection| connection.uid == view.uid)?;
            match &result {
                Ok(token) => connection.token_expires != Some(token.expires_at()) || waits(&connection.standing),
                Err(error) => connection.token_retry_at != Some(error.retry_at),
            }
        };
        if news {
            self.metrics.token_refresh(match &result {
                Ok(_) => TokenResult::Granted,
                Err(error) if matches!(error.failure, TokenFailure::Invalid { .. }) => TokenResult::Refused,
                Err(_) => TokenResult::Failed,
            });
            self.change_connection(name, |connection| match &result {
                Ok(token) => {
                    connection.token_expires = Some(token.expires_at());
                    connection.token_retry_at = None;
                    if waits(&connection.standing) {
                        connection.standing = Standing::Valid;
                    }
                }
                Err(error) => {
                    connection.token_retry_at = Some(error.retry_at);
                    connection.standing = match error.failure {
                        TokenFailure::Invalid { .. } => Standing::CredentialsInvalid(error.to_string()),
                        _ => Standing::Unavailable(error.to_string()),
                    };
                }
            });
        }
        result.ok()
    }
}

fn look_health(look: &Look, believed: bool) -> Health {
    match look {
        Look::Active(_) | Look::Ended(_) => Health::Success,
        Look::Unclear(_) => Health::Failure,
        Look::Failed(Failure::NotFound { conclusive }) if *conclusive || believed => Health::Success,
        Look::Failed(failure) => failure_health(*failure),
    }
}

fn call_health(call: &Call) -> Health {
    match call {
        Call::Applied | Call::Accepted | Call::Failed(Failure::NotFound { .. }) => Health::Success,
        Call::Failed(failure) => failure_health(*failure),
    }
}

fn failure_health(failure: Failure) -> Health {
    match failure {
        Failure::NotFound { .. } => Health::Unproven,
        Failure::Refused | Failure::Forbidden => Health::Success,
        Failure::Unauthorized | Failure::Throttled => Health::Neither,
        Failure::Suspicious(_) | Failure::Transient | Failure::Unreachable(_) | Failure::Unanswered => Health::Failure,
    }
}
