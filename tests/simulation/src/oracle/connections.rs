//! What connections were and are: hosts, limits, and where their webhooks go.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde_json::Value;

use super::read::{at, condition, host_of, text, without_scheme};

/// A limit that changed is the old one still for whoever has not heard of the change, and in the window of 60 s that
/// began before it: so long both count, and the larger one holds.
const LIMIT_LINGERS: Duration = Duration::from_secs(90);

/// One connection, by uid.
#[derive(Clone, Debug, Default)]
pub(super) struct Connection {
    namespace: String,
    pub(super) host: String,
    pub(super) created: Duration,
    pub(super) deleted: Option<Duration>,
    /// Webhook entries: every URL that each ever had.
    urls: BTreeMap<String, BTreeSet<String>>,
    /// Webhook entries that it had once and was without at some time.
    removed: BTreeSet<String>,
    /// Calls a minute and passes at a time, with the time of each change.
    limits: Vec<(Duration, u32, u32)>,
    /// `notFound.trust: Always` at some time.
    pub(super) trusts: bool,
    /// A guest was shown through it, or its status says so. Where several led to the host, nobody can tell from outside
    /// through which of them a call went: then through all that were there when it left.
    proven: bool,
}

/// All connections of the run.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    all: BTreeMap<String, Connection>,
    /// What each host said of its limit, with the time of each change.
    told: BTreeMap<String, Vec<(Duration, u32)>>,
    /// When somebody last removed a connection to a host, or put another one in its place.
    replaced: BTreeMap<String, Duration>,
    /// Hosts that a stored status says that of: what only a process knew died with it.
    shown: BTreeSet<String>,
}

impl Connections {
    pub(super) fn get(&self, uid: &str) -> Option<&Connection> {
        self.all.get(uid)
    }

    pub(super) fn stored(&mut self, now: Duration, before: Option<&Value>, after: Option<&Value>) {
        let Some(object) = after else {
            let uid = before.map(|before| text(before, &["metadata", "uid"]));
            if let Some(connection) = uid.and_then(|uid| self.all.get_mut(uid)) {
                connection.deleted = Some(now);
                self.replaced.insert(connection.host.clone(), now);
            }
            return;
        };
        let uid = text(object, &["metadata", "uid"]);
        if !self.all.contains_key(uid) {
            let connection = Connection {
                namespace: text(object, &["metadata", "namespace"]).to_owned(),
                host: host(object),
                created: now,
                ..Connection::default()
            };
            let mut others = self.all.values().filter(|one| one.host == connection.host);
            if others.clone().next().is_some() {
                self.replaced.insert(connection.host.clone(), now);
            }
            if !others.any(|one| one.deleted.is_none()) {
                self.shown.remove(&connection.host);
            }
            self.all.insert(uid.to_owned(), connection);
        }
        let Some(connection) = self.all.get_mut(uid) else {
            return;
        };
        let number = |path: &[&str], default| {
            at(object, path)
                .as_u64()
                .map_or(default, |number| u32::try_from(number).unwrap_or(u32::MAX))
        };
        let calls = number(&["spec", "rateLimit", "requestsPerMinute"], 240);
        let flights = number(&["spec", "rateLimit", "maxInFlight"], 5).min((calls / 6).max(1));
        if connection
            .limits
            .last()
            .is_none_or(|last| (last.1, last.2) != (calls, flights))
        {
            connection.limits.push((now, calls, flights));
        }
        connection.trusts |= text(object, &["spec", "notFound", "trust"]) == "Always";
        if condition(object, "RouteProven") == "GuestRead" {
            connection.proven = true;
            self.shown.insert(connection.host.clone());
        }
        let mut names = BTreeSet::new();
        for webhook in at(object, &["spec", "webhooks"]).as_array().into_iter().flatten() {
            let name = text(webhook, &["name"]).to_owned();
            let url = without_scheme(text(webhook, &["url"])).to_owned();
            connection.urls.entry(name.clone()).or_default().insert(url);
            names.insert(name);
        }
        let missing = connection.urls.keys().filter(|name| !names.contains(*name)).cloned();
        connection.removed.extend(missing);
    }

    /// The vendor said what it allows, and somebody heard it.
    pub(super) fn told(&mut self, now: Duration, host: &str, allowed: u32) {
        let told = self.told.entry(host.to_owned()).or_default();
        if told.last().is_none_or(|(_, last)| *last != allowed) {
            told.push((now, allowed));
        }
    }

    /// A look that left then was answered with a guest.
    pub(super) fn prove(&mut self, left: Duration, host: &str) {
        let asked = |one: &&mut Connection| one.host == host && one.created <= left;
        self.all.values_mut().filter(asked).for_each(|one| one.proven = true);
    }

    /// Whether a 404 of that host may be believed, by whoever uses the right connection.
    pub(super) fn is_proven(&self, host: &str) -> bool {
        let mut leads = self.all.values().filter(|one| one.host == host);
        leads.any(Connection::believes_not_found)
    }

    /// When somebody last removed a connection to a host, or put another one in its place.
    pub(super) fn replaced(&self, host: &str) -> Option<Duration> {
        self.replaced.get(host).copied()
    }

    /// Whether any connection of a namespace has shown a guest, or is trusted without.
    pub(super) fn any_proven(&self, namespace: &str) -> bool {
        let mut its = self.all.values().filter(|one| one.namespace == namespace);
        its.any(|one| one.trusts || self.shown.contains(&one.host))
    }

    /// Whether the user vouches for every connection to that host.
    pub(super) fn is_trusted(&self, host: &str) -> bool {
        let mut leads = self.all.values().filter(|one| one.host == host);
        leads.all(|one| one.trusts)
    }

    /// Whether one connection ever led to that host.
    pub(super) fn is_only_one(&self, host: &str) -> bool {
        self.all.values().filter(|one| one.host == host).count() == 1
    }

    /// Calls in 60 s and passes at a time that a host may be asked: of all connections to it together, and of each the
    /// largest that was in force lately.
    pub(super) fn limits(&self, host: &str, now: Duration) -> (u32, u32) {
        let since = now.saturating_sub(LIMIT_LINGERS);
        // Before the vendor said anything there was nothing to go by.
        let told = self
            .told
            .get(host)
            .filter(|told| told.first().is_some_and(|first| first.0 <= since))
            .and_then(|told| lately(told.iter().copied(), since))
            .unwrap_or(u32::MAX);
        let leads = |one: &&Connection| one.host == host;
        let lately_there = |one: &&Connection| one.deleted.is_none_or(|deleted| deleted >= since);
        // A watch that lags tells late that a connection is gone: then what it allowed last still holds.
        let any = self.all.values().filter(leads).any(|one| lately_there(&one));
        let to_it = self.all.values().filter(leads).filter(|one| !any || lately_there(one));
        to_it.fold((0, 0), |(calls, flights), one| {
            let own = lately(one.limits.iter().map(|limit| (limit.0, limit.1)), since).unwrap_or(0);
            let passes = lately(one.limits.iter().map(|limit| (limit.0, limit.2)), since).unwrap_or(0);
            // With less than 5 one pass asks again every 5 minutes, or nobody would ever hear of a better limit.
            (calls + own.min(told).max(2), flights + passes)
        })
    }
}

impl Connection {
    /// Whether a 404 in the right shape may be believed that came through it.
    pub(super) fn believes_not_found(&self) -> bool {
        self.proven || self.trusts
    }

    /// Whether that was ever the address of that webhook entry.
    pub(super) fn leads_to(&self, webhook: &str, endpoint: &str) -> bool {
        self.urls.get(webhook).is_some_and(|urls| urls.contains(endpoint))
    }

    /// Whether the webhook's entry was missing at some time, or the connection itself is gone.
    pub(super) fn lacked(&self, webhook: &str) -> bool {
        self.deleted.is_some() || self.removed.contains(webhook) || !self.urls.contains_key(webhook)
    }
}

/// The largest value that was in force at some time since.
fn lately(changes: impl DoubleEndedIterator<Item = (Duration, u32)>, since: Duration) -> Option<u32> {
    let mut largest = None;
    for (from, value) in changes.rev() {
        largest = largest.max(Some(value));
        if from <= since {
            break;
        }
    }
    largest
}

/// The host that a connection leads to.
pub(super) fn host(object: &Value) -> String {
    let region = text(object, &["spec", "region"]);
    if region.is_empty() {
        host_of(text(object, &["spec", "endpoints", "apiUrl"]))
    } else {
        format!("api.{region}.mygenesys.com")
    }
}
