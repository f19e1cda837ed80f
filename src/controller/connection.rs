//! One connection: what this process knows of it, and what that means for those who want to ask the vendor through it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;

use super::{index::ConnectionName, settings::Pacing};
use crate::{
    api::{
        Api, ConnectionKind, GenesysConnection, NotFoundTrust, PinnedConnection, WebhookEndpoint, WebhookEvent,
        conditions::{ConditionReason, ConditionStatus, ConditionType, has_status},
    },
    clock::Reading,
    cluster::SecretVersion,
    genesys::{Credentials, Endpoints, Target, Tokens},
    schedule::{Moment, Uid, breaker::Operation, bucket::Limits, queue::ConnectionUid},
    termination::{
        fact::{Announcement, Hold},
        instants,
    },
    webhook,
};

/// Different objects that were answered 403, without a success between, before it is the connection's trouble.
const DENIED_OBJECTS: usize = 3;

/// How a connection stands with the vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing was asked yet.
    NotProbed,
    /// The vendor gave a token.
    Valid,
    /// The addresses cannot be used.
    BadEndpoint(String),
    /// A Secret, or a key in it, is missing or unusable.
    SecretMissing(String),
    /// The token endpoint refused the credentials.
    CredentialsInvalid(String),
    /// A fresh token was refused by the API.
    TokenRefused(String),
    /// Several objects in a row were answered 403.
    PermissionDenied(String),
    /// No token can be had now.
    Unavailable(String),
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The newest version that was seen or written.
    pub object: Arc<GenesysConnection>,
    /// Its uid.
    pub uid: ConnectionUid,
    /// Its addresses.
    pub endpoints: Result<Endpoints, String>,
    /// Its certificates, where the spec names some.
    pub ca_bundle: Option<Arc<crate::transport::CaBundle>>,
    /// Its credentials, once they were read.
    pub credentials: Option<Credentials>,
    /// The versions of its Secrets that were read.
    pub secrets: Vec<SecretVersion>,
    /// When its Secrets were last looked at.
    pub checked: Option<Moment>,
    /// Its tokens.
    pub tokens: Arc<Tokens>,
    /// How it stands with the vendor.
    pub standing: Standing,
    /// A guest was read through it.
    pub proven: bool,
    /// A read was answered 404 and could not be believed.
    pub unproven: bool,
    /// The objects that were answered 403 since the last success.
    pub denied: BTreeMap<Operation, BTreeSet<Uid>>,
    /// Passes on trial that were refused again.
    pub trials: u32,
    /// From when on one pass at a time is let through, to see whether the vendor still refuses this client.
    pub trial_from: Option<Moment>,
    /// Pauses in a row of which the vendor did not say how long they should be.
    pub throttles: BTreeMap<Operation, u32>,
    /// What a fresh token was refused for.
    pub refused: Option<Operation>,
    /// Until when nobody is let through.
    pub resting_until: Moment,
    /// Until when the vendor asked for a pause, if that is longer than a moment, by the wall clock of then.
    pub paused_until: Option<Timestamp>,
    /// When that is, by the monotonic clock.
    pub pause_ends: Moment,
    /// Calls a minute that the vendor said it allows.
    pub allowed: Option<u32>,
    /// When the vendor said so.
    pub allowed_at: Moment,
    /// When the token in use expires.
    pub token_expires: Option<Timestamp>,
    /// The token endpoint is not asked again before then.
    pub token_retry_at: Option<Moment>,
    /// Its breaker is open, and what the answer that keeps it open was.
    pub broken: Option<String>,
    /// Its status is not written before then: the API server did not take the last one.
    pub write_not_before: Moment,
    /// When its status was last written.
    pub written: Option<Moment>,
    /// Writes of its status in a row, each less than a minute after the one before.
    pub writes_in_a_row: u32,
    /// Calls were made since then.
    pub used: bool,
}

impl Connection {
    pub(super) fn new(object: GenesysConnection, allow_insecure: bool) -> Option<Self> {
        let uid: ConnectionUid = object.metadata.uid.as_deref()?.into();
        let status = object.status.clone().unwrap_or_default();
        let limit = status.rate_limit.as_ref();
        let endpoints = Endpoints::of(&object.spec, allow_insecure).map_err(|error| error.to_string());
        let standing = match &endpoints {
            Ok(_) => Standing::NotProbed,
            Err(message) => Standing::BadEndpoint(message.clone()),
        };
        let proven = has_status(&status.conditions, ConditionType::RouteProven, ConditionStatus::True);
        let unproven = has_status(&status.conditions, ConditionType::RouteProven, ConditionStatus::False);
        Some(Self {
            uid,
            endpoints,
            ca_bundle: None,
            credentials: None,
            secrets: Vec::new(),
            checked: None,
            tokens: Arc::default(),
            standing,
            proven,
            unproven,
            denied: BTreeMap::new(),
            trials: 0,
            trial_from: None,
            throttles: BTreeMap::new(),
            refused: None,
            resting_until: Moment::ZERO,
            paused_until: limit.and_then(|limit| limit.paused_until.as_ref()).map(|until| until.0),
            pause_ends: Moment::ZERO,
            allowed: limit
                .and_then(|limit| limit.allowed)
                .and_then(|allowed| u32::try_from(allowed).ok()),
            allowed_at: Moment::ZERO,
            token_expires: None,
            token_retry_at: None,
            broken: None,
            write_not_before: Moment::ZERO,
            written: None,
            writes_in_a_row: 0,
            used: false,
            object: Arc::new(object),
        })
    }

    /// Its namespace and name.
    pub fn name(&self) -> ConnectionName {
        let metadata = &self.object.metadata;
        (
            metadata.namespace.as_deref().unwrap_or_default().into(),
            metadata.name.as_deref().unwrap_or_default().into(),
        )
    }

    /// What it may ask of the vendor, and the smaller of both words counts.
    ///
    /// `cap`: passes that one connection may hold, so that a vendor that hangs does not hold up every other one.
    pub fn limits(&self, cap: u32) -> Limits {
        let limit = &self.object.spec.rate_limit;
        let own = u32::try_from(limit.requests_per_minute).unwrap_or_default();
        Limits {
            requests_per_minute: self.allowed.map_or(own, |allowed| allowed.min(own)),
            max_in_flight: u32::try_from(limit.max_in_flight).unwrap_or_default().clamp(1, cap),
        }
    }

    /// Whether it may ask too little to work with.
    pub fn is_starved(&self) -> bool {
        self.limits(1).requests_per_minute < Limits::SMALLEST
    }

    /// Whether anybody may be let through its lane.
    pub fn is_open(&self) -> bool {
        let standing = matches!(
            self.standing,
            Standing::Valid | Standing::TokenRefused(_) | Standing::PermissionDenied(_)
        );
        standing && !self.object.spec.suspend && !self.is_starved()
    }

    /// Whether a 404 in the right shape can be believed.
    pub fn believes_not_found(&self) -> bool {
        self.proven || self.object.spec.not_found.trust == NotFoundTrust::Always
    }

    /// Where calls go, if the addresses can be used.
    pub fn target(&self) -> Option<Target> {
        Some(Target {
            endpoints: self.endpoints.as_ref().ok()?.clone(),
            ca_bundle: self.ca_bundle.clone(),
            not_found_codes: self.object.spec.not_found.codes.clone(),
        })
    }

    /// How a termination refers to it.
    pub fn pin(&self) -> PinnedConnection {
        PinnedConnection {
            kind: ConnectionKind::GenesysConnection,
            name: self.name().1.to_string(),
            uid: self.uid.to_string(),
            api: match self.object.spec.api {
                Api::WebMessagingGuests => Api::WebMessagingGuests,
            },
            host: self
                .endpoints
                .as_ref()
                .map(|endpoints| endpoints.host.clone())
                .unwrap_or_default(),
            rest: Default::default(),
        }
    }

    /// The webhooks that announce the end of an object.
    pub fn announcements(&self, uid: &str) -> Vec<Announcement> {
        let wants = |webhook: &&WebhookEndpoint| webhook.events.contains(&WebhookEvent::SessionTerminated);
        let webhooks = self.object.spec.webhooks.iter().filter(wants);
        webhooks
            .map(|webhook| Announcement {
                name: webhook.name.clone(),
                event: WebhookEvent::SessionTerminated,
                format: webhook.format,
                message_id: webhook::payload::message_id(uid, WebhookEvent::SessionTerminated),
            })
            .collect()
    }

    /// Takes a pause in that the vendor asked for.
    pub fn pause(&mut self, pause: Duration, now: Timestamp, moment: Moment) {
        let ends = moment + pause;
        // Shorter ones are over before anybody reads of them.
        if pause > Duration::from_secs(5) && ends > self.pause_ends {
            self.pause_ends = ends;
            self.paused_until = Some(instants::ceiling(instants::later(now, pause)).0);
        }
        self.resting_until = self.resting_until.max(ends);
    }

    /// Goes on with the pause that its status tells of.
    pub fn resume_pause(&mut self, at: Reading) {
        if let Some(until) = self.paused_until.filter(|until| *until > at.wall) {
            self.pause_ends = at.monotonic + instants::between(at.wall, until);
            self.resting_until = self.resting_until.max(self.pause_ends);
        }
    }

    /// Takes in what a newer version tells that this process does not know, and says whether that is anything: a guest
    /// was read through it, or the vendor asked for a longer pause. What one process learnt the next one must not take back.
    pub(super) fn learn(&mut self, newer: &Self, at: Reading) -> bool {
        let proof = newer.proven && !self.proven;
        self.proven |= newer.proven;
        let pause = newer.paused_until > self.paused_until;
        if pause {
            self.paused_until = newer.paused_until;
            self.resume_pause(at);
        }
        proof || pause
    }

    /// Keeps what this process learnt in a former term and holds in every one.
    pub(super) fn inherit(&mut self, former: &Self) {
        self.proven |= former.proven;
        self.resting_until = self.resting_until.max(former.resting_until);
        if former.pause_ends > self.pause_ends {
            self.pause_ends = former.pause_ends;
            self.paused_until = former.paused_until;
        }
    }

    /// Until when the pause lasts that the vendor asked for, if it is not over.
    pub fn pausing(&self, moment: Moment) -> Option<Timestamp> {
        self.paused_until.filter(|_| moment < self.pause_ends)
    }

    /// A 429 that does not say for how long: the pause grows with each one that comes after a pause, not with each of
    /// those that were under way together.
    pub fn pause_of_unknown_length(
        &mut self,
        operation: Operation,
        backoff: impl Fn(u32) -> Duration,
        now: Timestamp,
        moment: Moment,
    ) {
        if moment >= self.resting_until {
            let row = self.throttles.entry(operation).or_default();
            let pause = backoff(*row);
            *row = row.saturating_add(1);
            self.pause(pause, now, moment);
        }
    }

    /// A fresh token was refused. What was under way together counts once, as does the first word on it.
    pub fn token_refused(
        &mut self,
        operation: Operation,
        message: impl FnOnce() -> String,
        probe: bool,
        pacing: &Pacing,
        moment: Moment,
    ) {
        self.refused = Some(operation);
        let known = matches!(self.standing, Standing::TokenRefused(_));
        if !known {
            self.standing = Standing::TokenRefused(message());
        }
        if !known || probe {
            let pause = pacing.trial * (1 << self.trials.min(10));
            self.trials = self.trials.saturating_add(1);
            self.trial_from = Some(moment + pause.min(pacing.trial_cap));
        }
    }

    /// Whether it is starved by the vendor's word alone, of which only another answer tells whether it still holds.
    pub fn is_starved_by_the_vendor(&self) -> bool {
        let own = u32::try_from(self.object.spec.rate_limit.requests_per_minute).unwrap_or_default();
        own >= Limits::SMALLEST && self.is_starved()
    }

    /// Its credentials were read anew: what was held against the former ones is over.
    pub fn starts_anew(&mut self) {
        self.denied.clear();
        self.trials = 0;
        self.trial_from = None;
        self.token_retry_at = None;
        self.standing = Standing::NotProbed;
    }

    /// What its status shows, and what the keeper goes by: an answer that changes none of it is no news.
    pub(super) fn visible(&self) -> Visible {
        Visible {
            standing: self.standing.clone(),
            proven: self.proven,
            unproven: self.unproven,
            broken: self.broken.clone(),
            paused_until: self.paused_until,
            allowed: self.allowed,
            token_expires: self.token_expires,
            token_retry_at: self.token_retry_at,
        }
    }

    /// An answer decided something: whatever was held against the connection is over.
    pub fn succeeded(&mut self, operation: Operation) {
        self.denied.remove(&operation);
        self.throttles.remove(&operation);
        let denied = self.denied.values().any(|objects| objects.len() >= DENIED_OBJECTS);
        match self.standing {
            // Reads that are allowed say nothing of calls that are not.
            Standing::PermissionDenied(_) if denied => return,
            Standing::TokenRefused(_) if self.refused.is_some_and(|refused| refused != operation) => return,
            Standing::TokenRefused(_) | Standing::PermissionDenied(_) => self.standing = Standing::Valid,
            _ => {}
        }
        self.trials = 0;
        self.trial_from = None;
    }

    /// An object was answered 403. After several it is the connection's trouble.
    pub fn denied(
        &mut self,
        operation: Operation,
        uid: &Uid,
        message: impl FnOnce() -> String,
        pacing: &Pacing,
        moment: Moment,
    ) {
        let objects = self.denied.entry(operation).or_default();
        objects.insert(uid.clone());
        if objects.len() >= DENIED_OBJECTS {
            if !matches!(self.standing, Standing::PermissionDenied(_)) {
                self.standing = Standing::PermissionDenied(message());
            }
            self.trial_from = Some(moment + pacing.trial_cap);
        }
    }

    /// What keeps its objects waiting that their own statuses do not tell: while it is out of order it says so itself,
    /// once for all.
    pub fn trouble(&self, moment: Moment) -> Option<String> {
        let name = self.name().1;
        match &self.standing {
            Standing::Unavailable(why) => Some(format!("Connection {name} is not ready: {why}.")),
            _ if self.broken.is_some() => self.broken.clone().filter(|why| !why.is_empty()),
            _ => self
                .pausing(moment)
                .map(|_| format!("Connection {name} pauses for as long as the vendor asked.")),
        }
    }

    /// Why nothing can be asked through it for an object. `granted`: its lane let the object through, which on trial it
    /// does to see whether things have changed.
    pub(super) fn hold(&self, granted: bool) -> Option<Hold> {
        let name = self.name().1;
        let hold = |reason, message: String| Some(Hold { reason, message });
        if self.object.spec.suspend {
            return hold(
                ConditionReason::ConnectionSuspended,
                format!("Connection {name} is suspended: its spec.suspend is true."),
            );
        }
        if self.is_starved() {
            let message = format!(
                "Connection {name} may make fewer than {} calls a minute, which leaves nothing to work with. Raise spec.rateLimit.requestsPerMinute, or the vendor's limit.",
                Limits::SMALLEST
            );
            return hold(ConditionReason::RateLimited, message);
        }
        match &self.standing {
            Standing::NotProbed | Standing::Valid | Standing::Unavailable(_) => None,
            Standing::BadEndpoint(why) | Standing::SecretMissing(why) => hold(
                ConditionReason::WaitingForConnection,
                format!("Connection {name} is not ready: {why}."),
            ),
            Standing::CredentialsInvalid(why) => hold(
                ConditionReason::CredentialsInvalid,
                format!("Connection {name} is not ready: {why}."),
            ),
            Standing::TokenRefused(_) | Standing::PermissionDenied(_) if granted => None,
            Standing::TokenRefused(why) => hold(ConditionReason::CredentialsInvalid, why.clone()),
            Standing::PermissionDenied(why) => hold(ConditionReason::PermissionDenied, why.clone()),
        }
    }
}

/// See [`Connection::visible`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Visible {
    standing: Standing,
    proven: bool,
    unproven: bool,
    broken: Option<String>,
    paused_until: Option<Timestamp>,
    allowed: Option<u32>,
    token_expires: Option<Timestamp>,
    token_retry_at: Option<Moment>,
}

#[cfg(test)]
mod tests;
