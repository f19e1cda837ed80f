//! Making a fact durable: audit lines before the write, the write, and what follows from its answer.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};

use super::{
    index::{Holds, Telling, Unanswered},
    shared::{Shared, State},
};
use crate::{
    api::{GuestTermination, GuestTerminationStatus},
    cluster::{Notice, NoticeKind, ReadError, Regarding, StatusWrite},
    schedule::Uid,
    telemetry::metrics::WatchedKind,
    termination::records::{self, Note, Record},
};

/// The shortest pause between two tries of a write, whatever the API server says.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two tries of a write.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What came of bringing a status to the API server.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Recorded {
    /// It is durable.
    Written,
    /// Somebody else wrote; the newest version is known now.
    Overtaken,
    /// The object is gone.
    Gone,
    /// Nothing was written, and nothing can have been.
    NotWritten(Duration),
    /// It may have been written.
    Unknown(Duration),
}

impl Shared {
    /// Writes `next` in place of the object's status. Audit lines come first, but for an intent's: it says that a call is
    /// about to leave, and without its write none will.
    pub(super) async fn write_status(
        &self,
        uid: &Uid,
        object: &GuestTermination,
        next: GuestTerminationStatus,
        holds: Holds,
    ) -> Recorded {
        // The instants of `next` are by this clock, whatever it does until the write is answered.
        let reading = self.reading();
        let old = object.status.clone().unwrap_or_default();
        let records = records::between(object, &old, &next, reading.wall);
        if holds != Holds::Intent && self.announce(uid, &records).is_err() {
            return Recorded::NotWritten(Duration::from_secs(1));
        }
        let written = next.clone();
        let telling = Telling {
            outcome: next.outcome.filter(|_| next.is_finished() && !old.is_finished()),
            notices: notices(object, &records),
        };
        let write = self.cluster.replace_status(object, next).await;
        self.note_write(WatchedKind::GuestTermination, &write);
        match write {
            StatusWrite::Written(stored) => {
                self.tell(telling);
                let mut state = self.lock();
                state.index.wrote(uid, *stored, reading);
                self.tell_overdue(&mut state, uid);
                if let Some(entry) = state.index.get_mut(uid) {
                    entry.memory.failed_writes = 0;
                    entry.made_durable(&holds);
                }
                self.sync_outbox(&mut state, uid);
                drop(state);
                self.work.notify_one();
                Recorded::Written
            }
            StatusWrite::Conflict => self.read_again(uid, object).await,
            StatusWrite::Gone => {
                self.mark_deleted(uid);
                Recorded::Gone
            }
            StatusWrite::Throttled(pause) => Recorded::NotWritten(pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)),
            StatusWrite::Refused { code, message } => {
                let name = object.metadata.name.as_deref().unwrap_or_default();
                tracing::error!(
                    name,
                    code,
                    message,
                    "the API server refused the status; it is tried again"
                );
                Recorded::NotWritten(self.pause_after_write(uid))
            }
            StatusWrite::Unanswered(why) => {
                let name = object.metadata.name.as_deref().unwrap_or_default();
                tracing::warn!(
                    name,
                    why,
                    "the status write was not answered; the object is read before anything else"
                );
                let pause = self.pause_after_write(uid);
                if let Some(entry) = self.lock().index.get_mut(uid) {
                    entry.doubtful = true;
                    entry.memory.unanswered.push(Unanswered {
                        written,
                        holds,
                        telling,
                    });
                }
                Recorded::Unknown(pause)
            }
        }
    }

    /// Writes the audit lines that were not written yet.
    ///
    /// # Errors
    /// A line could not be written. What it announces must not be done then.
    pub(super) fn announce(&self, uid: &Uid, records: &[Record]) -> std::io::Result<()> {
        let now = self.now();
        for record in records {
            let Record::Audit(line) = record else { continue };
            let key = records::key(line);
            if self
                .lock()
                .index
                .get(uid)
                .is_some_and(|entry| entry.memory.told.contains(&key))
            {
                continue;
            }
            self.audit_line(now, line)?;
            if let Some(entry) = self.lock().index.get_mut(uid) {
                entry.memory.told.insert(key);
            }
        }
        Ok(())
    }

    /// Writes one audit line.
    ///
    /// # Errors
    /// It could not be written.
    pub(super) fn audit_line(&self, now: Timestamp, line: &Map<String, Value>) -> std::io::Result<()> {
        let written = self.audit.write(now, line);
        match &written {
            Ok(()) => self.audit_failures.worked(),
            Err(error) => {
                self.audit_failures.failed(error.to_string());
                self.metrics.audit_failure();
                tracing::error!(%error, "an audit line could not be written; nothing is done without it");
            }
        }
        written
    }

    /// Tells the probes and the metrics what came of a status write.
    pub(super) fn note_write<T>(&self, kind: WatchedKind, write: &StatusWrite<T>) {
        self.metrics.status_write(kind, write.into());
        match write {
            StatusWrite::Written(_) | StatusWrite::Conflict | StatusWrite::Gone => self.write_failures.worked(),
            StatusWrite::Throttled(_) => self.write_failures.failed("throttled (429)"),
            // The server's words name objects and users, and the probes are read by anybody.
            StatusWrite::Refused { code, .. } => self.write_failures.failed(format!("refused ({code})")),
            StatusWrite::Unanswered(why) => self.write_failures.failed(format!("not answered: {why}")),
        }
    }

    /// Writes the last audit lines of objects that are let go. Not to be done under the lock: a reader that stops reading
    /// stops the writer.
    pub(super) fn last_words(&self, lines: &[Map<String, Value>]) {
        let now = self.now();
        for line in lines {
            let _ = self.audit_line(now, line);
        }
    }

    /// Reads an object after a conflict, or after its watch let it go.
    pub(super) async fn read_again(&self, uid: &Uid, object: &GuestTermination) -> Recorded {
        let metadata = &object.metadata;
        let (namespace, name) = (
            metadata.namespace.as_deref().unwrap_or_default(),
            metadata.name.as_deref().unwrap_or_default(),
        );
        match self.cluster.get::<GuestTermination>(namespace, name).await {
            Ok(Some(fresh)) if fresh.metadata.uid.as_deref() == Some(uid.as_ref()) => {
                let reading = self.reading();
                let mut state = self.lock();
                state.index.read(uid, fresh, object, reading);
                self.tell_overdue(&mut state, uid);
                self.sync_outbox(&mut state, uid);
                Recorded::Overtaken
            }
            Ok(_) => {
                self.mark_deleted(uid);
                Recorded::Gone
            }
            Err(ReadError::Throttled(pause)) => Recorded::NotWritten(pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)),
            Err(error) => {
                tracing::warn!(namespace, name, %error, "the object could not be read");
                Recorded::NotWritten(self.pause_after_write(uid))
            }
        }
    }

    fn mark_deleted(&self, uid: &Uid) {
        if let Some(entry) = self.lock().index.get_mut(uid) {
            entry.deleted = true;
            entry.doubtful = false;
        }
    }

    /// Doubling from a second to half a minute, for each object by itself.
    fn pause_after_write(&self, uid: &Uid) -> Duration {
        let mut state = self.lock();
        let Some(entry) = state.index.get_mut(uid) else {
            return LONGEST_PAUSE;
        };
        entry.memory.failed_writes = entry.memory.failed_writes.saturating_add(1);
        let doublings = (entry.memory.failed_writes - 1).min(5);
        Duration::from_secs(1 << doublings).min(LONGEST_PAUSE)
    }

    /// Tells what became durable, once.
    fn tell(&self, telling: Telling) {
        if let Some(outcome) = telling.outcome {
            self.metrics.outcome(outcome);
        }
        self.publish(telling.notices);
    }

    /// Tells what turned out to be durable though its write was not answered.
    pub(super) fn tell_overdue(&self, state: &mut State, uid: &Uid) {
        if let Some(entry) = state.index.get_mut(uid) {
            for telling in std::mem::take(&mut entry.memory.overdue) {
                self.tell(telling);
            }
        }
    }
}

fn notices(object: &GuestTermination, records: &[Record]) -> Vec<Notice> {
    let notes = records.iter().filter_map(|record| match record {
        Record::Event(note) => Some(note),
        Record::Audit(_) => None,
    });
    notes.map(|note| notice(object, note)).collect()
}

fn notice(object: &GuestTermination, note: &Note) -> Notice {
    Notice {
        regarding: Regarding::of(object),
        kind: if note.warning {
            NoticeKind::Warning
        } else {
            NoticeKind::Normal
        },
        reason: note.reason.to_owned(),
        action: "Terminate".to_owned(),
        note: note.note.clone(),
        discriminator: note.discriminator.clone(),
    }
}
