//! Every connection, and what a termination finds when it looks for its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{connection::Connection, index::ConnectionName, versions::is_newer};
use crate::{
    api::{GenesysConnection, PinnedConnection, WebhookEndpoint, conditions::ConditionReason},
    clock::Reading,
    genesys::{Credentials, Target, Tokens},
    schedule::queue::ConnectionUid,
    termination::fact::{Announcement, Hold},
};

/// A connection as one pass sees it.
#[derive(Clone, Debug)]
pub struct View {
    /// Its uid.
    pub uid: ConnectionUid,
    /// How the termination refers to it.
    pub pin: PinnedConnection,
    /// A 404 in the right shape can be believed.
    pub believes_not_found: bool,
    /// A read through it was answered 404 and could not be believed.
    pub unproven: bool,
    /// Where calls go.
    pub target: Option<Target>,
    /// Its credentials.
    pub credentials: Option<Credentials>,
    /// Its tokens.
    pub tokens: Arc<Tokens>,
    /// The webhooks that announce the object's end.
    pub announcements: Vec<Announcement>,
}

/// What a pass finds when it looks for its connection.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The connection, if it is there and the termination may use it.
    pub view: Option<View>,
    /// Why nothing can be asked through it.
    pub held: Option<Hold>,
}

/// Where a webhook goes now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To that endpoint.
    Endpoint(WebhookEndpoint),
    /// Nowhere: its entry is no longer in the connection.
    Removed,
    /// Nowhere yet: the connection is missing, or suspended.
    Waits,
    /// Nowhere, it seems: another connection has the name of the one that the status names.
    Replaced,
}

/// Every connection.
#[derive(Debug, Default)]
pub struct Connections {
    by_name: BTreeMap<ConnectionName, Connection>,
    /// Those that are there and do not fit the types of this version.
    unreadable: BTreeSet<ConnectionName>,
}

/// What a version that was seen means for a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A connection that was not there before, in place of the one with that uid.
    New(Option<ConnectionUid>),
    /// Its spec changed, and with it, or not, what a 404 means.
    Edited {
        /// `spec.notFound` changed.
        not_found: bool,
    },
    /// Another process found something out about it.
    Learned,
    /// Nothing that matters.
    Nothing,
}

impl Connections {
    /// The connection of a name.
    pub fn get(&self, name: &ConnectionName) -> Option<&Connection> {
        self.by_name.get(name)
    }

    /// The connection of a name, to be changed.
    pub fn get_mut(&mut self, name: &ConnectionName) -> Option<&mut Connection> {
        self.by_name.get_mut(name)
    }

    /// Every connection.
    pub fn iter(&self) -> impl Iterator<Item = (&ConnectionName, &Connection)> {
        self.by_name.iter()
    }

    /// Takes in a version that was seen at `at`, with what another process found out and wrote into it.
    pub fn see(
        &mut self,
        object: GenesysConnection,
        allow_insecure: bool,
        at: Reading,
    ) -> Option<(ConnectionName, Change)> {
        let mut seen = Connection::new(object, allow_insecure)?;
        let name = seen.name();
        self.unreadable.remove(&name);
        let change = match self.by_name.get_mut(&name) {
            Some(known) if known.uid == seen.uid => {
                if !is_newer(&seen.object.metadata, &known.object.metadata) {
                    return Some((name, Change::Nothing));
                }
                let edited = known.object.metadata.generation != seen.object.metadata.generation;
                let not_found = known.object.spec.not_found != seen.object.spec.not_found;
                let learned = known.learn(&seen, at);
                known.object = seen.object;
                if !edited {
                    let change = if learned { Change::Learned } else { Change::Nothing };
                    return Some((name, change));
                }
                // What was held against it may have been the spec's doing, and is found out anew.
                known.endpoints = seen.endpoints;
                known.standing = seen.standing;
                known.secrets.clear();
                known.checked = None;
                known.token_retry_at = None;
                known.denied.clear();
                known.trials = 0;
                known.trial_from = None;
                return Some((name, Change::Edited { not_found }));
            }
            Some(known) => Change::New(Some(known.uid.clone())),
            None => Change::New(None),
        };
        seen.written = None;
        // A pause outlives the process that was asked for it.
        seen.resume_pause(at);
        self.by_name.insert(name.clone(), seen);
        Some((name, change))
    }

    /// Forgets what was found out about the connections: they are as their objects say. But for what holds whoever leads,
    /// and may not have come into the object: a proof, and the pause that the vendor asked for. Gives their names back.
    pub fn start_anew(&mut self, allow_insecure: bool, at: Reading) -> Vec<ConnectionName> {
        for connection in self.by_name.values_mut() {
            if let Some(mut anew) = Connection::new(connection.object.as_ref().clone(), allow_insecure) {
                anew.resume_pause(at);
                anew.inherit(connection);
                *connection = anew;
            }
        }
        self.by_name.keys().cloned().collect()
    }

    /// A connection is there and cannot be read.
    pub fn cannot_read(&mut self, name: ConnectionName) {
        self.unreadable.insert(name);
    }

    /// A connection that could not be read is gone.
    pub fn can_read(&mut self, name: &ConnectionName) {
        self.unreadable.remove(name);
    }

    /// A listing begins: it names again whatever cannot be read.
    pub fn read_anew(&mut self) {
        self.unreadable.clear();
    }

    /// A connection is gone.
    pub fn remove(&mut self, name: &ConnectionName, uid: &str) -> Option<Connection> {
        if self.by_name.get(name).is_some_and(|known| known.uid.as_ref() == uid) {
            return self.by_name.remove(name);
        }
        None
    }

    /// What a termination finds that uses the connection of that name.
    pub fn resolve(
        &self,
        name: &ConnectionName,
        pinned: Option<&PinnedConnection>,
        uid: &str,
        granted: bool,
    ) -> Resolved {
        let waiting = |message: String| Resolved {
            view: None,
            held: Some(Hold {
                reason: ConditionReason::WaitingForConnection,
                message,
            }),
        };
        if self.unreadable.contains(name) {
            return waiting(format!(
                "GenesysConnection {} does not fit the operator's version of its kind. Apply the definitions of that version, or correct the connection.",
                name.1
            ));
        }
        let Some(connection) = self.by_name.get(name) else {
            return waiting(format!(
                "There is no GenesysConnection {} in this namespace. Create it, or create the termination anew with another spec.connectionRef.",
                name.1
            ));
        };
        if pinned.is_some_and(|pinned| pinned.uid != connection.uid.as_ref()) {
            return waiting(format!(
                "Connection {} was deleted and created again, and a call went out through the former one, whose answers alone are evidence.",
                name.1
            ));
        }
        Resolved {
            held: connection.hold(granted),
            view: Some(View {
                uid: connection.uid.clone(),
                pin: connection.pin(),
                believes_not_found: connection.believes_not_found(),
                unproven: connection.unproven,
                target: connection.target(),
                credentials: connection.credentials.clone(),
                tokens: connection.tokens.clone(),
                announcements: connection.announcements(uid),
            }),
        }
    }

    /// Where a webhook of an object goes: through the connection that its status names, and no other.
    pub fn destination(&self, name: &ConnectionName, pinned: Option<&PinnedConnection>, webhook: &str) -> Destination {
        let Some(connection) = self.by_name.get(name) else {
            return Destination::Waits;
        };
        if pinned.is_none_or(|pinned| pinned.uid != connection.uid.as_ref()) {
            return Destination::Replaced;
        }
        if connection.object.spec.suspend {
            return Destination::Waits;
        }
        let mut entries = connection.object.spec.webhooks.iter();
        entries
            .find(|entry| entry.name == webhook)
            .map_or(Destination::Removed, |entry| Destination::Endpoint(entry.clone()))
    }
}
