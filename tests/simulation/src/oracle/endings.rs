//! The API server stored something: the books, I3, and the patience with somebody else's intent.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{
    Invariant, Oracle, Verdict,
    books::{Attempt, End, Object, Request, Version},
    budget::suspensions,
    read::{self, at, condition, is_true, text, time},
    violation,
};
use crate::history::Ordinal;

/// Somebody else's intent is left alone for 20 s from when it was first seen; a process may see it as it is stored.
const PATIENCE: Duration = Duration::from_secs(20);
/// Fields of a status that stay once it is finished.
const FINAL: [&str; 9] = [
    "finished",
    "outcome",
    "phase",
    "completionTime",
    "history",
    "audit",
    "attempts",
    "retries",
    "connection",
];

impl Oracle {
    pub(super) fn stored(
        &mut self,
        now: Duration,
        ordinal: Option<Ordinal>,
        before: Option<&Value>,
        after: Option<&Arc<Value>>,
    ) -> Verdict {
        let kind = after
            .map(Arc::as_ref)
            .or(before)
            .map_or("", |object| text(object, &["kind"]));
        let by = ordinal.and_then(|ordinal| self.books.writes.get(&ordinal).copied());
        match kind {
            "GuestTermination" => {}
            "GenesysConnection" | "ClusterGenesysConnection" => {
                if by.is_some() {
                    self.connection_noise(now, ordinal, before, after.map(Arc::as_ref))?;
                    if let Some(after) = after {
                        self.note_pause(now, after);
                    }
                } else {
                    self.books.stir(now);
                    self.books.reconfigured(now, before.is_some());
                }
                self.books.connections.stored(now, before, after.map(Arc::as_ref));
                return Ok(());
            }
            _ => {
                if by.is_none() {
                    self.books.stir(now);
                    self.books.reconfigured(now, before.is_some());
                }
                return Ok(());
            }
        }
        let Some(after) = after else {
            let uid = before.map_or("", |before| text(before, &["metadata", "uid"]));
            if let Some(object) = self.books.objects.get_mut(uid) {
                object.deleted = Some(now);
                self.books.stir(now);
            }
            return Ok(());
        };
        let uid = text(after, &["metadata", "uid"]);
        if !self.books.objects.contains_key(uid) {
            let object = created(now, after);
            let guest = object.guest.clone();
            self.books.guests.entry(guest).or_default().push(uid.to_owned());
            self.books.objects.insert(uid.to_owned(), object);
            self.books.stir(now);
            self.track(now, ordinal, by, after);
            return Ok(());
        }
        if by.is_none() {
            self.books.stir(now);
        }
        self.stays(ordinal, by, after)?;
        self.patient(ordinal, by, now, after)?;
        self.budgeted(ordinal, by, after)?;
        self.may_intend(ordinal, by, after)?;
        self.accepted(ordinal, by, after)?;
        self.claims(ordinal, by, after)?;
        self.ends_in_time(now, after)?;
        self.delivery_claims(ordinal, by, after)?;
        self.track(now, ordinal, by, after);
        Ok(())
    }

    /// I3: what is finished stays as it is, but for its outbox; what is settled is not written again; and no doubt and no
    /// count is ever taken back.
    fn stays(&self, ordinal: Option<Ordinal>, by: Option<Request>, after: &Value) -> Verdict {
        let Some(object) = self.books.objects.get(text(after, &["metadata", "uid"])) else {
            return Ok(());
        };
        let fail = |sentence: String| {
            Err(violation(
                Invariant::I3,
                object,
                format!("{}: {sentence}", write_of(ordinal)),
            ))
        };
        let (old, new) = (&object.last["status"], &after["status"]);
        let changed = FINAL.into_iter().find(|field| old[*field] != new[*field]);
        if let Some(field) = changed.filter(|_| object.end.is_some()) {
            return fail(format!("status.{field} of a finished object changes"));
        }
        if object.settled && by.is_some() && old != new {
            return fail("the status of a settled object is written".to_owned());
        }
        if object.may_have_applied && !is_true(new, &["mayHaveApplied"]) {
            return fail("status.mayHaveApplied is taken back".to_owned());
        }
        if let Some(count) = ["attempts", "retries"]
            .into_iter()
            .find(|count| new[*count].as_i64() < old[*count].as_i64())
        {
            return fail(format!("status.{count} falls"));
        }
        let pinned = object.pinned.as_ref().map(|(_, uid)| uid.as_str());
        if pinned.is_some_and(|uid| text(new, &["connection", "uid"]) != uid) {
            return fail("the pinned connection changes".to_owned());
        }
        Ok(())
    }

    /// I1, the side of whoever finds an intent: another process's is not given up before 20 s have passed since it was
    /// stored, unless the session is over, the vendor had accepted the call, or the object ends.
    fn patient(&self, ordinal: Option<Ordinal>, by: Option<Request>, now: Duration, after: &Value) -> Verdict {
        let Some(object) = self.books.objects.get(text(after, &["metadata", "uid"])) else {
            return Ok(());
        };
        let Some((id, by)) = object.current_attempt.as_ref().zip(by) else {
            return Ok(());
        };
        let open = text(after, &["status", "currentAttempt", "id"]) == id;
        let finished = is_true(after, &["status", "finished"]);
        let accepted = !text(&object.last, &["status", "currentAttempt", "acceptedTime"]).is_empty();
        let Some(attempt) = object.attempts.get(id).filter(|_| !open && !finished && !accepted) else {
            return Ok(());
        };
        let foreign = attempt.written.is_some_and(|written| written.process != by.process);
        // Clocks of replicas may differ by 5 % in rate.
        if foreign && by.at < attempt.stored + PATIENCE.mul_f64(0.95) {
            let sentence = format!(
                "{}: process {} gives up attempt {id} of another process {:?} after it was stored",
                write_of(ordinal),
                by.process,
                now.saturating_sub(attempt.stored)
            );
            return Err(violation(Invariant::I1a, object, sentence));
        }
        Ok(())
    }

    /// An intent is written: not before the time that the status names, by the writer's own clock (I1: the retry state is in
    /// the status, so that no restart makes a storm of calls), and not by a process that was asked to stop (I2).
    fn may_intend(&self, ordinal: Option<Ordinal>, by: Option<Request>, after: &Value) -> Verdict {
        let Some(object) = self.books.objects.get(text(after, &["metadata", "uid"])) else {
            return Ok(());
        };
        let id = text(after, &["status", "currentAttempt", "id"]);
        let (Some(by), false) = (by, id.is_empty() || object.current_attempt.as_deref() == Some(id)) else {
            return Ok(());
        };
        let due = time(at(&object.last, &["status", "nextAttemptTime"]));
        // A clock that jumps moves the instant, and not the wait that was begun before.
        if let Some(due) = due.filter(|due| by.wall < *due && !self.facts.clocks_jump) {
            let sentence = format!(
                "{}: attempt {id} is begun at {}, before {due}",
                write_of(ordinal),
                by.wall
            );
            return Err(violation(Invariant::I1a, object, sentence));
        }
        let stopping = self.books.processes.get(&by.process).and_then(|life| life.stopping);
        // What stands still sends when it goes on what it was about to send.
        if stopping.is_some_and(|stopping| by.at > stopping && !self.facts.processes_freeze) {
            let sentence = format!(
                "{}: process {} begins attempt {id} after it was asked to stop",
                write_of(ordinal),
                by.process
            );
            return Err(violation(Invariant::I2, object, sentence));
        }
        Ok(())
    }

    /// An end that comes is judged as one that does not come would be at the end of the run.
    fn ends_in_time(&self, now: Duration, after: &Value) -> Verdict {
        match self.books.objects.get(text(after, &["metadata", "uid"])) {
            Some(object) if object.end.is_none() && is_true(after, &["status", "finished"]) => {
                self.in_time(object, now)
            }
            _ => Ok(()),
        }
    }

    /// Takes a version of an object into the books.
    fn track(&mut self, now: Duration, ordinal: Option<Ordinal>, by: Option<Request>, after: &Arc<Value>) {
        let uid = text(after, &["metadata", "uid"]);
        let Some(object) = self.books.objects.get_mut(uid) else {
            return;
        };
        let status = &after["status"];
        object.versions.push(version(after));
        if object.last["spec"] != after["spec"] {
            object.edited = now;
        }
        let open = text(status, &["currentAttempt", "id"]);
        if object.current_attempt.as_deref().unwrap_or_default() != open {
            let gone = object
                .current_attempt
                .take()
                .and_then(|id| object.attempts.get_mut(&id));
            if let Some(attempt) = gone {
                attempt.cleared = Some((now, by.map(|by| by.process)));
            }
            if !open.is_empty() {
                object.current_attempt = Some(open.to_owned());
                let attempt = Attempt {
                    written: by,
                    stored: now,
                    durable: None,
                    version: object.versions.len() - 1,
                    announced: None,
                    cleared: None,
                    calls: Vec::new(),
                    results: BTreeSet::new(),
                };
                object.attempts.entry(open.to_owned()).or_insert(attempt);
                if let Some(ordinal) = ordinal {
                    self.books.intents.insert(ordinal, (uid.to_owned(), open.to_owned()));
                }
            }
        }
        let connection = text(status, &["connection", "uid"]);
        if object.pinned.is_none() && !connection.is_empty() {
            object.pinned = Some((text(status, &["connection", "host"]).to_owned(), connection.to_owned()));
        }
        object.may_have_applied |= is_true(status, &["mayHaveApplied"]);
        object.suspended = is_true(after, &["spec", "suspend"]);
        suspensions(object, now, condition(after, "Suspended") == "Requested");
        let settled = is_true(status, &["settled"]);
        let stirs = settled != object.settled;
        object.settled = settled;
        if object.end.is_none() && is_true(status, &["finished"]) {
            object.end = Some(End {
                at: now,
                by,
                outcome: text(status, &["outcome"]).to_owned(),
            });
            self.books.ends.push((now, object.namespace.clone()));
            self.books.stirred = now;
        }
        object.last = Arc::clone(after);
        if stirs {
            self.books.stir(now);
        }
    }
}

pub(super) fn write_of(ordinal: Option<Ordinal>) -> String {
    ordinal.map_or_else(|| "a write of another".to_owned(), |ordinal| format!("#{ordinal}"))
}

fn version(object: &Value) -> Version {
    let seconds = at(object, &["spec", "activeDeadlineSeconds"])
        .as_i64()
        .unwrap_or(21_600);
    let suspended = at(object, &["status", "suspendedSeconds"]).as_i64().unwrap_or(0);
    let created = time(at(object, &["metadata", "creationTimestamp"]));
    let deadline = created.and_then(|created: Timestamp| {
        created
            .checked_add(SignedDuration::from_secs(seconds.saturating_add(suspended)))
            .ok()
    });
    let stands = condition(object, "Suspended") == "Requested";
    Version {
        suspend: is_true(object, &["spec", "suspend"]),
        deadline: deadline.filter(|_| !stands),
    }
}

fn created(now: Duration, object: &Value) -> Object {
    let spec = &object["spec"];
    let mut parameters = vec![
        ("reason", text(spec, &["reason"]).to_owned()),
        ("retainData", is_true(spec, &["retainData"]).to_string()),
    ];
    if let Some(reference) = spec["externalRef"].as_str() {
        parameters.push(("externalRef", reference.to_owned()));
    }
    Object {
        uid: text(object, &["metadata", "uid"]).to_owned(),
        namespace: text(object, &["metadata", "namespace"]).to_owned(),
        name: text(object, &["metadata", "name"]).to_owned(),
        created: now,
        edited: now,
        guest: text(spec, &["guestId"]).to_owned(),
        parameters,
        not_after: read::time(&spec["notAfter"]),
        versions: Vec::new(),
        pinned: None,
        current_attempt: None,
        may_have_applied: false,
        settled: false,
        suspended: false,
        suspended_since: None,
        suspended_for: Duration::ZERO,
        end: None,
        deleted: None,
        attempts: Default::default(),
        calls: Vec::new(),
        lives: Vec::new(),
        told: BTreeSet::new(),
        bodies: Default::default(),
        message_id: None,
        last: Arc::default(),
    }
}
