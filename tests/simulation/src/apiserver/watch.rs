//! A watch: what it was told, and what it is still to be told.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    ApiServer,
    kind::Kind,
    read::{Form, metadata_of},
    selector::Selector,
    status::Failure,
    store::{Change, Collection, Object},
};

/// Where a watch begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// With what there is at that version.
    Listing { version: u64 },
    /// With what changes after that version.
    After(u64),
}

/// An open watch. It holds no lock and no task: whoever carries its lines asks for them, and stops asking at the
/// [timeout](Self::timeout), or once it [has ended](Self::has_ended).
#[derive(Debug)]
pub struct Watch {
    kind: Arc<Kind>,
    /// How many times the kind was served in another way when the watch began.
    era: usize,
    namespace: String,
    selector: Selector,
    form: Form,
    position: u64,
    /// The initial listing is still to be sent.
    listing: bool,
    marks_listing: bool,
    bookmarks: bool,
    timeout: Option<Duration>,
    ended: bool,
}

/// What a change is to a watch.
enum Told<'a> {
    Added(&'a Object),
    Modified(&'a Object),
    Deleted,
    Nothing,
}

impl Watch {
    #[expect(clippy::too_many_arguments, reason = "each is a field of the request")]
    pub(super) fn new(
        kind: Arc<Kind>,
        collection: &Collection,
        namespace: String,
        selector: Selector,
        form: Form,
        start: Start,
        bookmarks: bool,
        marks_listing: bool,
        timeout: Option<Duration>,
    ) -> Self {
        let (position, listing) = match start {
            Start::Listing { version } => (version, true),
            Start::After(version) => (version, false),
        };
        Self {
            kind,
            era: collection.ended.len(),
            namespace,
            selector,
            form,
            position,
            listing,
            marks_listing,
            bookmarks,
            timeout,
            ended: false,
        }
    }

    /// How long the server keeps it open: the `timeoutSeconds` of the request. `None`: the client set none, or 0, and
    /// the server chooses (30 minutes to an hour).
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Whether the server has ended it: after an error, or because the definition of its kind was changed or removed.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The version up to which it was told everything.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The lines that are due up to a version, each a whole JSON document with its line end.
    ///
    /// An expired position ends the watch with an `ERROR` line.
    pub fn next_lines(&mut self, server: &ApiServer, up_to: u64) -> Vec<Bytes> {
        let mut lines = Vec::new();
        let Some(collection) = server.collection(&self.kind) else {
            self.ended = true;
            return lines;
        };
        if self.ended {
            return lines;
        }
        if self.listing {
            self.listing = false;
            for (_, object) in collection.snapshot("", self.position) {
                if self.selects(Some(object)).is_some() {
                    lines.push(self.line("ADDED", &self.form.of(object)));
                }
            }
            if self.marks_listing {
                lines.push(self.bookmark_line(true));
            }
        } else if server.is_compacted(self.position) {
            lines.push(self.expire(server));
            return lines;
        }
        let era_end = collection.ended.get(self.era).copied();
        let up_to = era_end.map_or(up_to, |end| end.min(up_to));
        for change in collection.changes(self.position, up_to) {
            lines.extend(self.told(change));
        }
        self.position = self.position.max(up_to);
        self.ended = era_end.is_some_and(|end| self.position >= end);
        lines
    }

    /// Ends the watch with the `ERROR` line of an expired version, as a server does that cannot keep up.
    pub fn expire(&mut self, server: &ApiServer) -> Bytes {
        self.ended = true;
        let body = Failure::expired(self.position, server.compacted).body();
        self.line("ERROR", &body.to_string().into())
    }

    /// A bookmark, if the client wants them: that everything up to its version was told. It is never beyond a line
    /// that is still due.
    pub fn bookmark(&mut self, server: &ApiServer, up_to: u64) -> Option<Bytes> {
        if !self.bookmarks || self.ended || self.listing {
            return None;
        }
        let collection = server.collection(&self.kind)?;
        let due = collection
            .changes(self.position, up_to)
            .iter()
            .find(|change| !matches!(self.seen(change), Told::Nothing));
        let reached = due.map_or(up_to, |change| change.version - 1);
        self.position = self.position.max(reached);
        Some(self.bookmark_line(false))
    }

    fn bookmark_line(&self, ends_listing: bool) -> Bytes {
        let mut object = json!({
            "kind": self.kind.name, "apiVersion": self.kind.api_version(),
            "metadata": {"resourceVersion": self.position.to_string()},
        });
        if ends_listing {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        if self.form == Form::Metadata {
            object = metadata_of(&object);
        }
        self.line("BOOKMARK", &object.to_string().into())
    }

    fn line(&self, event: &str, object: &Bytes) -> Bytes {
        let mut line = Vec::with_capacity(object.len() + 40);
        line.extend_from_slice(b"{\"type\":\"");
        line.extend_from_slice(event.as_bytes());
        line.extend_from_slice(b"\",\"object\":");
        line.extend_from_slice(object);
        line.extend_from_slice(b"}\n");
        line.into()
    }

    fn told(&self, change: &Change) -> Option<Bytes> {
        match self.seen(change) {
            Told::Added(object) => Some(self.line("ADDED", &self.form.of(object))),
            Told::Modified(object) => Some(self.line("MODIFIED", &self.form.of(object))),
            Told::Deleted => {
                let farewell = change.farewell()?;
                if self.form == Form::Whole {
                    return Some(self.line("DELETED", farewell));
                }
                let object: Value = serde_json::from_slice(farewell).ok()?;
                Some(self.line("DELETED", &metadata_of(&object).to_string().into()))
            }
            Told::Nothing => None,
        }
    }

    fn seen<'a>(&self, change: &'a Change) -> Told<'a> {
        match (
            self.selects(change.before.as_ref()),
            self.selects(change.after.as_ref()),
        ) {
            (None, Some(after)) => Told::Added(after),
            (Some(_), Some(after)) => Told::Modified(after),
            (Some(_), None) => Told::Deleted,
            (None, None) => Told::Nothing,
        }
    }

    fn selects<'a>(&self, object: Option<&'a Arc<Object>>) -> Option<&'a Object> {
        object
            .map(|object| &**object)
            .filter(|object| object.is_in(&self.namespace) && self.selector.matches(&object.value))
    }
}
