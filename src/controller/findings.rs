//! What answers and tokens mean for a connection, beside what they mean for an object.

use super::{connection::Standing, connections::View, index::ConnectionName, shared::Shared};
use crate::{
    genesys::{AccessToken, Credentials, Target, TokenFailure},
    schedule::{
        Uid,
        breaker::{Health, Operation},
    },
    telemetry::metrics::TokenResult,
    termination::{
        answer::{Call, Evidence, Failure, Look},
        messages,
    },
};

/// What an answer means for the connection, beside what it means for the object.
pub(super) struct Finding<'a> {
    /// The object that was asked about.
    pub(super) uid: &'a Uid,
    /// The pass was let through alone, to see whether the vendor answers.
    pub(super) probe: bool,
    /// What was asked.
    pub(super) operation: Operation,
    /// What the answer says of the connection.
    pub(super) health: Health,
    /// The failure that it is, if it is one of the connection's.
    pub(super) failure: Option<Failure>,
    /// What is wrong, if the answer is a failure of the connection's.
    pub(super) trouble: Option<String>,
    /// What came with it.
    pub(super) evidence: &'a Evidence,
}

impl Shared {
    /// Takes in what an answer means for the connection, and says whether a failure spends the object's budget.
    pub(super) fn take_in(&self, name: &ConnectionName, view: &View, finding: Finding<'_>) -> bool {
        let (now, moment) = (self.now(), self.moment());
        let (spends, broken) = {
            let mut state = self.lock();
            let spends = state
                .queue
                .report(&view.uid, finding.uid, finding.operation, finding.health, moment);
            (spends, state.queue.lane(&view.uid).is_some_and(|lane| lane.is_broken()))
        };
        let jitter = self.chance.share();
        let pacing = &self.settings.pacing;
        let message = |failure| match finding.operation {
            Operation::Observe => messages::look_failed(failure, finding.evidence, &view.pin),
            Operation::Terminate => messages::call_failed(failure, finding.evidence, &view.pin),
        };
        self.change_connection(name, |connection| {
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
            // A 404 that is not believed decides nothing for its object, but it is no refusal: a permission that is back
            // must not be missed on an address that nobody has proven yet.
            let answered = matches!(finding.health, Health::Success | Health::Unproven);
            if answered && finding.failure != Some(Failure::Forbidden) {
                connection.succeeded(finding.operation);
            }
            match finding.failure {
                // No time at all, or one that is over, says as little as no word.
                Some(Failure::Throttled) => match finding.evidence.retry_after.filter(|pause| !pause.is_zero()) {
                    Some(pause) => connection.pause(pause, now, moment),
                    None => {
                        let backoff = |row| self.settings.policy.backoff(row, jitter, None);
                        connection.pause_of_unknown_length(finding.operation, backoff, now, moment);
                    }
                },
                Some(Failure::Forbidden) => {
                    connection.denied(
                        finding.operation,
                        finding.uid,
                        || message(Failure::Forbidden),
                        pacing,
                        moment,
                    );
                }
                Some(Failure::NotFound { .. }) if finding.health == Health::Unproven => connection.unproven = true,
                Some(Failure::Unauthorized) => {
                    connection.token_refused(
                        finding.operation,
                        || message(Failure::Unauthorized),
                        finding.probe,
                        pacing,
                        moment,
                    );
                }
                _ => {}
            }
        });
        spends
    }

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
            if connection.credentials.as_ref().map(Credentials::version) != Some(credentials.version()) {
                // Others are in force by now: this answer says nothing of them.
                return result.ok();
            }
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

pub(super) fn look_health(look: &Look, believed: bool) -> Health {
    match look {
        Look::Active(_) | Look::Ended(_) => Health::Success,
        Look::Unclear(_) => Health::Failure,
        Look::Failed(Failure::NotFound { conclusive }) if *conclusive || believed => Health::Success,
        Look::Failed(failure) => failure_health(*failure),
    }
}

pub(super) fn call_health(call: &Call) -> Health {
    match call {
        Call::Applied | Call::Accepted | Call::Failed(Failure::NotFound { .. }) => Health::Success,
        Call::Failed(failure) => failure_health(*failure),
    }
}

fn failure_health(failure: Failure) -> Health {
    match failure {
        Failure::NotFound { .. } => Health::Unproven,
        Failure::Refused | Failure::Forbidden => Health::Success,
        Failure::Unauthorized | Failure::TokenDied | Failure::Throttled => Health::Neither,
        Failure::Suspicious(_) | Failure::Transient | Failure::Unreachable(_) | Failure::Unanswered => Health::Failure,
    }
}
