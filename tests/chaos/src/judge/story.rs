//! What happened to one object, in order, put together from what the servers wrote down.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use guest_termination_operator::api::GuestTermination;
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use simulator::api::{Call, Operation};

use super::{Evidence, instant};

/// One object's story.
#[derive(Clone, Debug)]
pub struct Story<'a> {
    /// Its name.
    pub name: String,
    /// It, as it is at the end.
    pub object: &'a GuestTermination,
    /// Its attempts, by when their intents were written.
    pub attempts: Vec<Attempt<'a>>,
    /// Terminate calls that came before any intent.
    pub calls_without_intent: Vec<&'a Call>,
    /// The status writes that the API server carried out, in order.
    pub writes: Vec<Write>,
    /// When the first write came that may have made its end durable: one whose caller died over it is logged as an error,
    /// and may have been carried out all the same.
    pub end_written: Option<Timestamp>,
    /// Attempts that a line `attempt_started` announced and that no process told the result of.
    pub unresolved: Vec<String>,
    /// Lines `outcome`.
    pub outcomes: usize,
}

/// One durable intent and what came of it.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// Its id.
    pub id: String,
    /// The write that made it durable.
    pub written: Write,
    /// When the first line `attempt_started` of it was written.
    pub announced: Option<Timestamp>,
    /// Its calls, as they came to the vendor.
    pub calls: Vec<(Timestamp, &'a Call)>,
    /// Its process was killed while it was open.
    pub orphaned: bool,
}

/// A status write that the API server carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// When the request came.
    pub received: Timestamp,
    /// The open intent in it.
    pub intent: Option<String>,
    /// Whether it says that the object is finished.
    pub finished: bool,
    /// The outcome in it.
    pub outcome: Option<String>,
}

impl Story<'_> {
    /// How many sessions its calls ended.
    pub fn effective(&self) -> usize {
        let calls = self.attempts.iter().flat_map(|attempt| &attempt.calls);
        let calls = calls.map(|(_, call)| call).chain(&self.calls_without_intent);
        calls.filter(|call| call.effective).count()
    }
}

/// What the operator's lines say of one attempt.
#[derive(Default)]
struct Told {
    announced: Option<Timestamp>,
    /// When its process was killed, and that it was.
    killed: Option<Timestamp>,
    resolved: bool,
}

/// The stories of all objects.
pub(super) fn stories(evidence: &Evidence) -> anyhow::Result<Vec<Story<'_>>> {
    let Writes {
        mut certain,
        mut end_written,
    } = writes(evidence)?;
    let mut calls: BTreeMap<&str, Vec<(Timestamp, &Call)>> = BTreeMap::new();
    for call in &evidence.ledger.calls {
        if let (Operation::Terminate, Some(guest)) = (call.operation, call.guest.as_deref()) {
            calls.entry(guest).or_default().push((instant(&call.time)?, call));
        }
    }
    let mut told: BTreeMap<&str, BTreeMap<&str, Told>> = BTreeMap::new();
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for life in &evidence.lives {
        for line in &life.audit {
            let uid = line["uid"].as_str().context("an audit line names no uid")?;
            if line["kind"] == "outcome" {
                *outcomes.entry(uid).or_default() += 1;
            }
            let Some(id) = line["attempt_id"].as_str() else {
                continue;
            };
            let attempt = told.entry(uid).or_default().entry(id).or_default();
            match line["kind"].as_str() {
                Some("attempt_started") => {
                    let at = instant(line["timestamp"].as_str().unwrap_or_default())?;
                    attempt.announced = Some(attempt.announced.map_or(at, |before| before.min(at)));
                    attempt.killed = life.killed.then_some(life.gone);
                }
                Some("attempt_result") => attempt.resolved = true,
                _ => {}
            }
        }
    }
    evidence
        .objects
        .iter()
        .map(|object| {
            let uid = object.metadata.uid.as_deref().context("an object has no uid")?;
            let told = told.remove(uid).unwrap_or_default();
            let calls = calls.remove(object.spec.guest_id.as_str()).unwrap_or_default();
            let writes = certain.remove(uid).unwrap_or_default();
            let mut story = Story {
                name: object.metadata.name.clone().unwrap_or_default(),
                object,
                attempts: attempts(&writes, &told),
                calls_without_intent: Vec::new(),
                writes,
                end_written: end_written.remove(uid),
                unresolved: Vec::new(),
                outcomes: outcomes.remove(uid).unwrap_or_default(),
            };
            assign(&mut story, calls);
            let durable: BTreeSet<_> = story.attempts.iter().map(|attempt| attempt.id.as_str()).collect();
            let unresolved = told
                .iter()
                .filter(|(id, told)| told.announced.is_some() && !told.resolved && durable.contains(**id))
                .map(|(id, _)| (*id).to_owned())
                .collect();
            story.unresolved = unresolved;
            Ok(story)
        })
        .collect()
}

/// The status writes, by uid.
struct Writes {
    certain: BTreeMap<String, Vec<Write>>,
    end_written: BTreeMap<String, Timestamp>,
}

fn writes(evidence: &Evidence) -> anyhow::Result<Writes> {
    let mut certain: BTreeMap<String, Vec<(u64, Write)>> = BTreeMap::new();
    let mut end_written: BTreeMap<String, Timestamp> = BTreeMap::new();
    for event in &evidence.requests {
        let about_status = event.resource == "guestterminations" && event.subresource == "status";
        if !about_status || (400..500).contains(&event.code) {
            continue;
        }
        let Some(content) = &event.content else {
            // The server died, or gave up, before it had read the body: nothing of it can have been stored.
            ensure!(
                !event.succeeded(),
                "a status write succeeded and is logged without its content"
            );
            continue;
        };
        let uid = content["metadata"]["uid"]
            .as_str()
            .context("a status write names no uid")?
            .to_owned();
        // The version that it replaced orders the writes of one object, whatever their answers' order in the log.
        let version = content["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        let status = &content["status"];
        let write = Write {
            received: instant(&event.received_at)?,
            intent: status["currentAttempt"]["id"].as_str().map(str::to_owned),
            finished: status["finished"] == Value::Bool(true),
            outcome: status["outcome"].as_str().map(str::to_owned),
        };
        if write.finished {
            let first = end_written.entry(uid.clone()).or_insert(write.received);
            *first = write.received.min(*first);
        }
        if event.succeeded() {
            let version = version.parse().unwrap_or_default();
            certain.entry(uid).or_default().push((version, write));
        }
    }
    let sorted = certain.into_iter().map(|(uid, mut writes)| {
        writes.sort_by_key(|(version, _)| *version);
        (uid, writes.into_iter().map(|(_, write)| write).collect())
    });
    Ok(Writes {
        certain: sorted.collect(),
        end_written,
    })
}

/// The intents in those writes.
fn attempts<'a>(writes: &[Write], told: &BTreeMap<&str, Told>) -> Vec<Attempt<'a>> {
    let mut attempts: Vec<Attempt<'a>> = Vec::new();
    for (index, write) in writes.iter().enumerate() {
        let Some(id) = &write.intent else { continue };
        if attempts.iter().any(|attempt| attempt.id == *id) {
            continue;
        }
        let told = told.get(id.as_str());
        // Whoever closed it after that death was somebody else, who did not know the answer.
        let closed = writes[index..].iter().find(|later| later.intent.as_ref() != Some(id));
        let orphaned = told
            .and_then(|told| told.killed)
            .is_some_and(|killed| closed.is_none_or(|closed| closed.received > killed));
        attempts.push(Attempt {
            id: id.clone(),
            written: write.clone(),
            announced: told.and_then(|told| told.announced),
            calls: Vec::new(),
            orphaned,
        });
    }
    attempts
}

/// Gives each call to the latest intent that was on its way before it came.
fn assign<'a>(story: &mut Story<'a>, calls: Vec<(Timestamp, &'a Call)>) {
    for (at, call) in calls {
        // The ledger's instants are cut to the millisecond.
        let before = |attempt: &&mut Attempt<'_>| attempt.written.received.as_millisecond() <= at.as_millisecond();
        match story.attempts.iter_mut().rev().find(before) {
            Some(attempt) => attempt.calls.push((at, call)),
            None => story.calls_without_intent.push(call),
        }
    }
}
