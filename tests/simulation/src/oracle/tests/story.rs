//! Histories made by hand, told in a few words.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{
    history::{Ordinal, Process, Record, Server, What},
    oracle::{Facts, Invariant, Oracle, Violation},
    vendor::{Call, Change, Delivery, Effect, Life, Operation, Told},
};

pub(super) const HOST: &str = "vendor.example";
pub(super) const HOOK: &str = "hooks.example/one";

/// A history under way, and the first thing that the oracle has against it.
pub(super) struct Story {
    oracle: Oracle,
    pub(super) at: Duration,
    next: Ordinal,
    objects: BTreeMap<String, Arc<Value>>,
    /// How far the wall clock of each process is ahead, in seconds.
    ahead: BTreeMap<Process, i64>,
    lives: BTreeMap<String, (u32, bool)>,
    said: Option<Violation>,
}

pub(super) fn start() -> Timestamp {
    "2026-11-24T08:00:00Z".parse().unwrap()
}

impl Story {
    /// Process 1 runs, and one connection leads to the vendor.
    pub(super) fn new() -> Self {
        Self::of(Facts::default())
    }

    pub(super) fn of(facts: Facts) -> Self {
        let mut story = Self {
            oracle: Oracle::new(facts),
            at: Duration::ZERO,
            next: 1,
            objects: BTreeMap::new(),
            ahead: BTreeMap::new(),
            lives: BTreeMap::new(),
            said: None,
        };
        story.starts(1);
        story.connection("conn-1", |_| {});
        story
    }

    pub(super) fn record(&mut self, what: What) {
        let record = Record { at: self.at, what };
        if let Err(violation) = self.oracle.see(&record) {
            self.said.get_or_insert(violation);
        }
    }

    /// The oracle has nothing against it so far.
    #[track_caller]
    pub(super) fn holds(&self) {
        assert_eq!(self.said, None);
    }

    /// The first thing that the oracle has against it.
    #[track_caller]
    pub(super) fn violates(&self, invariant: Invariant, words: &str) {
        let said = self.said.as_ref().expect("the oracle says nothing");
        let right = said.invariant == invariant && said.sentence.contains(words);
        assert!(right, "expected {invariant:?}: {words}, not {said}");
    }

    pub(super) fn invariant(&self) -> Option<Invariant> {
        self.said.as_ref().map(|said| said.invariant)
    }

    pub(super) fn ends(&mut self) {
        if let Err(violation) = self.oracle.finish(self.at) {
            self.said.get_or_insert(violation);
        }
    }

    pub(super) fn wait(&mut self, seconds: f64) {
        self.at += Duration::from_secs_f64(seconds);
    }

    pub(super) fn wall(&self, process: Process) -> Timestamp {
        let ahead = SignedDuration::from_secs(self.ahead.get(&process).copied().unwrap_or(0));
        start().checked_add(self.at).unwrap().checked_add(ahead).unwrap()
    }

    pub(super) fn jump(&mut self, process: Process, seconds: i64) {
        *self.ahead.entry(process).or_default() += seconds;
    }

    pub(super) fn starts(&mut self, process: Process) {
        self.record(What::Started {
            process,
            replica: process,
        });
    }

    pub(super) fn dies(&mut self, process: Process) {
        self.record(What::Killed { process });
    }

    pub(super) fn connection(&mut self, uid: &str, change: impl FnOnce(&mut Value)) {
        let mut object = json!({
            "kind": "GenesysConnection",
            "metadata": {"name": "default", "namespace": "care", "uid": uid},
            "spec": {
                "endpoints": {"apiUrl": format!("https://{HOST}"), "loginUrl": format!("https://{HOST}")},
                "rateLimit": {"requestsPerMinute": 30, "maxInFlight": 2},
                "webhooks": [{"name": "hook", "url": format!("https://{HOOK}")}],
            },
        });
        change(&mut object);
        let after = Arc::new(object);
        let before = self.objects.insert(uid.to_owned(), Arc::clone(&after));
        self.record(What::Stored {
            ordinal: None,
            before,
            after: Some(after),
        });
    }

    /// A process writes the connection's status.
    pub(super) fn connection_by(&mut self, ordinal: Ordinal, change: impl FnOnce(&mut Value)) {
        self.stores(Some(ordinal), "conn-1", change);
    }

    /// An object of that name about that guest appears; its uid is its name.
    pub(super) fn creates(&mut self, name: &str, guest: &str, change: impl FnOnce(&mut Value)) {
        let created = start().checked_add(self.at).unwrap();
        let mut object = json!({
            "kind": "GuestTermination",
            "metadata": {"name": name, "namespace": "care", "uid": name, "creationTimestamp": created.to_string()},
            "spec": {
                "guestId": guest, "reason": "timeout", "retainData": false, "externalRef": "a+b",
                "activeDeadlineSeconds": 21600,
            },
            "status": {"observedGeneration": -1, "phase": "Pending"},
        });
        change(&mut object);
        let after = Arc::new(object);
        self.objects.insert(name.to_owned(), Arc::clone(&after));
        self.lives.entry(guest.to_owned()).or_insert((1, true));
        self.record(What::Stored {
            ordinal: None,
            before: None,
            after: Some(after),
        });
    }

    pub(super) fn deletes(&mut self, name: &str) {
        let before = self.objects.get(name).cloned();
        self.record(What::Stored {
            ordinal: None,
            before,
            after: None,
        });
    }

    fn stores(&mut self, ordinal: Option<Ordinal>, name: &str, change: impl FnOnce(&mut Value)) {
        let before = Arc::clone(&self.objects[name]);
        let mut object = Value::clone(&before);
        change(&mut object);
        let after = Arc::new(object);
        self.objects.insert(name.to_owned(), Arc::clone(&after));
        self.record(What::Stored {
            ordinal,
            before: Some(before),
            after: Some(after),
        });
    }

    /// The user edits an object.
    pub(super) fn edits(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        self.stores(None, name, change);
    }

    pub(super) fn asks(&mut self, process: Process, server: Server, line: &str, body: &str) -> Ordinal {
        let ordinal = self.next;
        self.next += 1;
        self.record(What::Asked {
            ordinal,
            process,
            server,
            line: line.to_owned(),
            body: Bytes::from(body.to_owned()),
            wall: self.wall(process),
        });
        ordinal
    }

    pub(super) fn answers(&mut self, ordinal: Ordinal, status: Option<u16>, intact: bool) {
        self.record(What::Answered {
            ordinal,
            status,
            intact,
        });
    }

    /// A status write that is stored; its answer is for the caller to give.
    pub(super) fn puts(&mut self, process: Process, name: &str, change: impl FnOnce(&mut Value)) -> Ordinal {
        let line = format!("PUT /apis/guestops.dev/v1alpha1/namespaces/care/guestterminations/{name}/status");
        let ordinal = self.asks(process, Server::Cluster, &line, "{}");
        self.stores(Some(ordinal), name, |object| change(&mut object["status"]));
        ordinal
    }

    pub(super) fn writes(&mut self, process: Process, name: &str, change: impl FnOnce(&mut Value)) -> Ordinal {
        let ordinal = self.puts(process, name, change);
        self.answers(ordinal, Some(200), true);
        ordinal
    }

    pub(super) fn line(&mut self, process: Process, name: &str, fields: Value) {
        let mut line = json!({"message": "session_termination_audit", "uid": name});
        line.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        self.record(What::Audit {
            process,
            line: Arc::new(line),
        });
    }

    pub(super) fn announces(&mut self, process: Process, name: &str, id: &str) {
        self.line(process, name, json!({"kind": "attempt_started", "attempt_id": id}));
    }

    pub(super) fn tells(&mut self, process: Process, name: &str, id: &str, result: &str) {
        let fields = json!({"kind": "attempt_result", "attempt_id": id, "result": result});
        self.line(process, name, fields);
    }

    /// Puts an intent in the status, without an answer and a line.
    pub(super) fn puts_intent(&mut self, process: Process, name: &str, id: &str) -> Ordinal {
        self.puts(process, name, |status| {
            status["currentAttempt"] = json!({"id": id, "holder": format!("process-{process}")});
            status["attempts"] = json!(status["attempts"].as_i64().unwrap_or(0) + 1);
            status["connection"] = json!({"name": "default", "uid": "conn-1", "host": HOST});
        })
    }

    /// An intent, durable and announced.
    pub(super) fn intends(&mut self, process: Process, name: &str, id: &str) {
        let ordinal = self.puts_intent(process, name, id);
        self.answers(ordinal, Some(200), true);
        self.announces(process, name, id);
    }

    /// The result of an attempt is told and written: the intent is gone.
    pub(super) fn resolves(&mut self, process: Process, name: &str, id: &str, result: &str) {
        self.tells(process, name, id, result);
        let unsure = !matches!(result, "NotApplied" | "NotSent");
        self.writes(process, name, |status| {
            status["currentAttempt"].take();
            if unsure {
                status["mayHaveApplied"] = json!(true);
            }
        });
    }

    /// A guest call leaves.
    pub(super) fn sends(&mut self, process: Process, operation: Operation, name: &str) -> Ordinal {
        let guest = self.objects[name]["spec"]["guestId"].as_str().unwrap().to_owned();
        let line = match operation {
            Operation::Observe => format!("GET https://{HOST}/api/v2/webmessaging/guests/{guest}"),
            Operation::Terminate => format!(
                "DELETE https://{HOST}/api/v2/webmessaging/guests/{guest}?reason=timeout&retainData=false&externalRef=a%2Bb"
            ),
        };
        self.asks(process, Server::Vendor, &line, "")
    }

    /// The vendor takes a guest call in.
    pub(super) fn takes(&mut self, ordinal: Ordinal, operation: Operation, guest: &str, told: Told) {
        let ends = operation == Operation::Terminate && told == Told::Applied && self.lives[guest].1;
        let effect = if ends { Effect::Ended } else { Effect::None };
        self.takes_with(ordinal, operation, guest, told, effect);
    }

    /// The vendor takes a guest call in, and does that.
    pub(super) fn takes_with(
        &mut self,
        ordinal: Ordinal,
        operation: Operation,
        guest: &str,
        told: Told,
        effect: Effect,
    ) {
        let (life, active) = self.lives[guest];
        let retry_after = (told == Told::Throttled).then_some(Duration::from_secs(30));
        if effect == Effect::Ended {
            self.leaves(guest, Some(ordinal));
        }
        self.record(What::Vendor {
            ordinal,
            call: Call {
                host: HOST.to_owned(),
                client: Some("client".to_owned()),
                operation,
                guest: guest.to_owned(),
                life: Some(life),
                active,
                effect,
                told,
                status: status(told),
                allowed: None,
                retry_after,
            },
        });
    }

    pub(super) fn leaves(&mut self, guest: &str, by: Option<Ordinal>) {
        let life = self.lives.get_mut(guest).unwrap();
        life.1 = false;
        let life = life.0;
        self.life(guest, life, Change::Ends(by));
    }

    pub(super) fn returns(&mut self, guest: &str) {
        let life = self.lives.get_mut(guest).unwrap();
        *life = (life.0 + 1, true);
        let life = life.0;
        self.life(guest, life, Change::Begins);
    }

    fn life(&mut self, guest: &str, life: u32, change: Change) {
        self.record(What::Life(Life {
            at: self.at,
            host: HOST.to_owned(),
            guest: guest.to_owned(),
            life,
            change,
        }));
    }

    /// A guest call, from departure to answer.
    pub(super) fn calls(&mut self, process: Process, operation: Operation, name: &str, told: Told) -> Ordinal {
        let guest = self.objects[name]["spec"]["guestId"].as_str().unwrap().to_owned();
        let ordinal = self.sends(process, operation, name);
        self.takes(ordinal, operation, &guest, told);
        self.answers(ordinal, Some(status(told)), true);
        ordinal
    }

    pub(super) fn looks(&mut self, process: Process, name: &str, told: Told) -> Ordinal {
        self.calls(process, Operation::Observe, name, told)
    }

    pub(super) fn terminates(&mut self, process: Process, name: &str, told: Told) -> Ordinal {
        self.calls(process, Operation::Terminate, name, told)
    }

    /// An outcome, told and written. `how`: `Response`, `Observation` or nothing.
    pub(super) fn finishes(&mut self, process: Process, name: &str, outcome: &str, how: Option<&str>) -> Ordinal {
        self.line(process, name, json!({"kind": "outcome", "outcome": outcome}));
        self.writes(process, name, |status| finish(status, outcome, how))
    }

    /// An object looked at, terminated by attempt `id`, and finished by process 1.
    pub(super) fn happily(&mut self, name: &str, guest: &str) {
        self.creates(name, guest, |_| {});
        self.looks(1, name, Told::Active);
        self.intends(1, name, "a-1");
        self.terminates(1, name, Told::Applied);
        self.tells(1, name, "a-1", "Applied");
        self.finishes(1, name, "Terminated", Some("Response"));
    }

    /// As [`Story::happily`], with a webhook that is due at that time.
    pub(super) fn happily_pending(&mut self, name: &str, guest: &str, due: &str) {
        self.creates(name, guest, |_| {});
        self.intends(1, name, "a-1");
        self.terminates(1, name, Told::Applied);
        self.tells(1, name, "a-1", "Applied");
        self.line(1, name, json!({"kind": "outcome", "outcome": "Terminated"}));
        self.writes(1, name, |status| {
            finish(status, "Terminated", Some("Response"));
            status["settled"].take();
            status["webhooks"] =
                json!([{"name": "hook", "state": "Pending", "messageId": "m", "nextAttemptTime": due}]);
        });
    }

    pub(super) fn delivers(&mut self, process: Process, body: &str, id: &str, signed: bool, status: u16) -> Ordinal {
        let ordinal = self.asks(process, Server::Receiver, &format!("POST https://{HOOK}"), body);
        self.record(What::Webhook {
            ordinal,
            delivery: Delivery {
                endpoint: HOOK.to_owned(),
                id: id.to_owned(),
                body: Bytes::from(body.to_owned()),
                signed,
                status,
            },
        });
        self.answers(ordinal, Some(status), true);
        ordinal
    }
}

pub(super) fn finish(status: &mut Value, outcome: &str, how: Option<&str>) {
    let good = matches!(outcome, "Terminated" | "AlreadyTerminated");
    status["finished"] = json!(true);
    status["outcome"] = json!(outcome);
    status["phase"] = json!(if good { "Terminated" } else { "Failed" });
    status["audit"] =
        json!({"success": good, "duplicateTermination": outcome == "AlreadyTerminated", "confirmedBy": how});
    status["currentAttempt"].take();
    status["settled"] = json!(true);
    status["connection"] = json!({"name": "default", "uid": "conn-1", "host": HOST});
}

fn status(told: Told) -> u16 {
    match told {
        Told::Active | Told::Over | Told::Unclear => 200,
        Told::NotFound => 404,
        Told::Applied => 204,
        Told::Accepted => 202,
        Told::Refused => 400,
        Told::Unauthorized => 401,
        Told::Forbidden => 403,
        Told::Throttled => 429,
        Told::Nothing => 503,
    }
}
