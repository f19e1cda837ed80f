//! Two worlds from which the same can happen are one state. What makes a difference is hashed: times as seen from now and
//! no further back than anybody counts, attempts by their age, and nothing that only an end that is over would rest on.
//! Every field is named, so that a new one is thought about.

use std::{
    collections::{BTreeSet, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    time::Duration,
};

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

use super::{
    actions::Work,
    world::{LateEffect, Process, World},
};
use crate::{
    api::{
        AttemptRecord, CurrentAttempt, GuestTerminationStatus as Status, WebhookDelivery,
        conditions::{ConditionType, find},
    },
    controller::{
        index::Entry,
        memory::{Holds, Memory, SeenLook, Unanswered},
    },
    termination::{
        answer::{Answer, Look},
        deadline::{deadline, decisive_from},
        fact::{Context, Fact},
    },
};

/// Nobody counts further back: 120 s of patience after the last send, and the window in which it left.
const FAR: Duration = Duration::from_secs(130);

/// What is hashed, as seen from one world.
struct View<'a> {
    world: &'a World,
    /// The intents that are open in any version that somebody may still see.
    open: BTreeSet<&'a str>,
    hash: DefaultHasher,
}

impl World {
    /// The same for worlds from which the same can happen.
    pub(super) fn key(&self) -> u64 {
        let mut view = self.view();
        view.server();
        let mut processes: Vec<u64> = (0..self.processes.len())
            .map(|process| {
                let mut view = self.view();
                view.process(process);
                view.hash.finish()
            })
            .collect();
        // Which of them is which makes no difference.
        processes.sort_unstable();
        view.put(&processes);
        view.put(&(self.faults, self.standstills, self.deletions, self.late.len()));
        for late in &self.late {
            view.time(late.by);
            match &late.what {
                LateEffect::Call => view.put(&0),
                // Always for the version that the server has.
                LateEffect::Write {
                    base: _,
                    status,
                    witness,
                } => {
                    view.put(&(1, witness.knows_end));
                    view.status(status);
                }
                LateEffect::Delivery { body: _ } => view.put(&2),
            }
        }
        if self.is_open() {
            view.vendor();
        }
        view.books();
        view.hash.finish()
    }

    /// Whether anybody may still see an object that is not finished.
    pub(super) fn is_open(&self) -> bool {
        !self.versions().all(Status::is_finished)
    }

    /// Every version of the status that is, or may still be, known to somebody.
    fn versions(&self) -> impl Iterator<Item = &Status> {
        // Only a fault shows the version before to anybody.
        let before = self.server.before.as_ref().filter(|_| self.faults > 0);
        let known = (0..self.processes.len()).filter_map(|process| self.entry(process).map(|entry| &entry.object));
        let current = Some(&self.server.object).filter(|_| !self.server.deleted);
        let objects = current.into_iter().chain(before).chain(known);
        let late = self.late.iter().filter_map(|late| match &late.what {
            LateEffect::Write { status, .. } => Some(status.as_ref()),
            _ => None,
        });
        objects.filter_map(|object| object.status.as_ref()).chain(late)
    }

    fn view(&self) -> View<'_> {
        let open = self.versions().filter_map(|status| status.current_attempt.as_ref());
        View {
            world: self,
            open: open.map(|open| open.id.as_str()).collect(),
            hash: DefaultHasher::new(),
        }
    }
}

impl View<'_> {
    fn put(&mut self, value: &impl Hash) {
        value.hash(&mut self.hash);
    }

    fn since(&self, time: Timestamp) -> i64 {
        let far = i64::try_from(FAR.as_millis()).unwrap();
        (time.as_millisecond() - self.world.now.as_millisecond()).max(-far)
    }

    fn time(&mut self, time: Timestamp) {
        let since = self.since(time);
        self.put(&since);
    }

    fn maybe(&mut self, time: Option<&Time>) {
        let since = time.map(|time| self.since(time.0));
        self.put(&since);
    }

    /// An instant that only holds back.
    fn until(&mut self, time: Option<Timestamp>) {
        let left = time.map_or(0, |time| self.since(time).max(0));
        self.put(&left);
    }

    /// How many attempts ago: the ids themselves make no difference.
    fn attempt(&mut self, id: &str) {
        let number: u32 = id.trim_start_matches("attempt-").parse().unwrap();
        self.put(&(self.world.minted - number));
    }

    fn server(&mut self) {
        let world = self.world;
        // Times in a status are whole seconds, so the part of a second that has passed counts.
        self.put(&(world.now.subsec_millisecond(), world.server.deleted));
        if !world.server.deleted {
            self.status(world.status());
        }
        if let Some(before) = world.server.before.as_ref().filter(|_| world.faults > 0) {
            self.status(before.status.as_ref().unwrap());
        }
        if !world.status().is_finished() {
            let request = world.request();
            let end = deadline(&request, world.status(), &world.rules.policy);
            for limit in [request.not_after, end] {
                // What is more than an hour away comes into no run.
                let since = limit.map(|limit| self.since(limit).min(3_600_000));
                self.put(&since);
            }
        }
    }

    fn vendor(&mut self) {
        let (world, vendor) = (self.world, &self.world.vendor);
        let ours = &vendor.ended_by_us;
        self.put(&(vendor.active, world.departures, ours.is_empty()));
        self.put(&ours.contains(&vendor.incarnation));
        if !vendor.active && world.faults > 0 {
            // How long a stale look may still say otherwise.
            self.until(Some(world.stale_until));
        }
    }

    fn status(&mut self, status: &Status) {
        let Status {
            observed_generation: _,
            phase: _,
            outcome,
            finished,
            settled,
            start_time: _,
            completion_time: _,
            next_attempt_time,
            deadline_time: _,
            last_send_time,
            suspended_seconds,
            connection,
            session: _,
            attempts,
            retries,
            may_have_applied,
            current_attempt,
            history,
            audit: _,
            webhooks,
            conditions,
            rest: _,
        } = status;
        self.put(&(outcome.map(|outcome| outcome as u8), finished, settled));
        for webhook in webhooks {
            let WebhookDelivery {
                name: _,
                event: _,
                format: _,
                message_id: _,
                state,
                attempts,
                last_status,
                next_attempt_time,
                delivered_time: _,
                rest: _,
            } = webhook;
            self.put(&(*state as u8, attempts, last_status));
            self.until(next_attempt_time.as_ref().map(|time| time.0));
        }
        if *finished == Some(true) {
            return;
        }
        self.until(next_attempt_time.as_ref().map(|time| time.0));
        self.maybe(last_send_time.as_ref());
        // None, one, or more: nothing else is made of the number of attempts.
        self.put(&(suspended_seconds, connection.is_some(), attempts.min(&2), retries));
        self.put(&(may_have_applied, current_attempt.is_some()));
        if let Some(CurrentAttempt {
            id,
            number: _,
            holder: _,
            started_at,
            accepted_time,
            rest: _,
        }) = current_attempt
        {
            self.attempt(id);
            self.time(started_at.0);
            self.put(&accepted_time.is_some());
        }
        let kept: Vec<&str> = (0..self.world.processes.len())
            .filter_map(|process| kept_attempt(self.world.entry(process)?))
            .collect();
        for (place, entry) in history.iter().enumerate() {
            let AttemptRecord {
                number: _,
                id,
                started_at: _,
                duration_millis: _,
                result,
                http_status,
                error_code,
                correlation_id: _,
                message: _,
                rest: _,
            } = entry;
            // The last one may be a refusal; an answer that comes late may change another one.
            if place == 0 || kept.contains(&id.as_str()) {
                self.put(&(place == 0, *result as u8, http_status, error_code.is_some()));
            }
        }
        // No hold ever changes what is said, so that something was said is all that counts.
        self.put(&find(conditions, ConditionType::Ready).is_some());
    }

    fn process(&mut self, index: usize) {
        let Process {
            alive,
            index: _,
            busy_until,
            gate,
            trusted,
            notices,
            witness,
        } = &self.world.processes[index];
        self.put(&(
            alive,
            notices,
            self.world.turn == index,
            self.world.standing == Some(index),
        ));
        self.until(Some(*busy_until));
        let Some(entry) = self.world.entry(index) else { return };
        let Entry {
            object,
            request: _,
            memory,
            deleted,
            doubtful,
            departed: _,
        } = entry;
        let status = object.status.as_ref().unwrap();
        if *deleted && *alive && matches!(self.world.work(index), Work::Wait(None)) {
            return; // Nothing will ever wake it.
        }
        let current = object.metadata.resource_version == self.world.server.object.metadata.resource_version;
        // Whether the server knows of an attempt that it has not seen: it will count from when it sees it.
        let told = status.attempts == self.world.status().attempts;
        self.put(&(current, told, deleted, doubtful));
        self.status(status);
        let told = entry.status_told(self.world.reading(), &self.world.rules.policy);
        if !status.is_finished() {
            self.maybe(told.last_send_time.as_ref());
            let open = told.current_attempt.as_ref();
            self.put(&open.map(|open| self.since(open.started_at.0)));
            self.maybe(open.and_then(|open| open.accepted_time.as_ref()));
        }
        self.memory(memory, status, &told);
        if status.is_finished() && memory.kept.is_none() {
            return;
        }
        let vendor = &self.world.vendor;
        let seen = witness
            .saw_active
            .map(|seen| (vendor.incarnation == seen, vendor.ended_by_us.contains(&seen)));
        self.put(&(trusted, witness.knows_end, seen));
        self.until(Some(*gate));
    }

    fn memory(&mut self, memory: &Memory, status: &Status, told: &Status) {
        let Memory {
            look,
            kept,
            intent,
            withheld,
            foreign,
            tried,
            unanswered,
            failed_writes,
            deleted_at,
            // Seen in what the status says of its calls as they are told by it. No other instant moves: the wall clock does
            // not jump here.
            moments: _,
            // Nothing is to be told: `doubt` leaves it empty.
            overdue: _,
            asked: _,
            reconsider: _,
            told: _,
        } = memory;
        let ago = |then: Duration| self.world.moment().saturating_sub(then);
        let (since, deleted) = (foreign.as_ref().map(|(_, since)| ago(*since)), deleted_at.map(ago));
        let look = look.as_ref().filter(|_| !status.is_finished());
        if let Some(look) = look {
            let SeenLook {
                verdict,
                connection: _,
                asked,
                answered,
                failures,
                jitter: _,
            } = look;
            let (age, answered) = (ago(asked.monotonic), ago(*answered));
            self.put(&std::mem::discriminant(verdict));
            match (verdict, since) {
                // It is fresh for 5 s; after that it may still decide an end.
                (Look::Active(_), None) if answered >= self.world.rules.policy.look_validity => {
                    // By its own dates, and by the status's word.
                    for status in [told, status] {
                        self.put(&(asked.wall >= decisive_from(status, &self.world.rules.policy)));
                    }
                }
                (Look::Active(_), Some(since)) if status.current_attempt.is_some() => {
                    let far = |span: Duration| span.min(FAR);
                    self.put(&(age <= since, far(since.saturating_sub(age)), far(age)));
                }
                _ => {
                    let long = |span: Duration| span.min(Duration::from_secs(310));
                    self.put(&(long(age), long(answered), failures));
                }
            }
        }
        self.put(&since.filter(|_| !status.is_finished()).map(|since| since.min(FAR)));
        self.put(&kept.is_some());
        if let Some(fact) = kept {
            self.fact(fact);
        }
        let own = intent.as_ref().filter(|own| self.open.contains(own.id.as_str()));
        if let Some(own) = own {
            self.attempt(&own.id);
            self.put(&(ago(own.began_moment).min(FAR), own.in_flight));
        }
        for id in withheld
            .keys()
            .filter(|id| self.open.contains(id.as_str()))
            .cloned()
            .collect::<Vec<_>>()
        {
            self.attempt(&id);
        }
        for fact in tried.values() {
            self.fact(fact);
        }
        self.put(&(unanswered.len(), failed_writes.min(&6), deleted.map(|ago| ago.min(FAR))));
        for Unanswered { written, holds, .. } in unanswered {
            // It is found by being the same in every field.
            let stored = written == self.world.status();
            self.status(written);
            self.put(&(stored, matches!(holds, Holds::Kept)));
        }
    }

    fn fact(&mut self, fact: &Fact) {
        match fact {
            Fact::Looked { answer, context, .. } => {
                self.put(&0);
                self.answer(answer, context);
            }
            Fact::Called {
                attempt,
                answer,
                context,
            } => {
                self.put(&1);
                self.attempt(&attempt.id);
                self.time(attempt.sent_at);
                self.answer(answer, context);
            }
            Fact::WebhookTried { answer, .. } => self.put(&format!("{answer:?}")),
            other => panic!("{other:?} is not kept"),
        }
    }

    fn answer<V: std::fmt::Debug>(&mut self, answer: &Answer<V>, context: &Context) {
        self.put(&(
            format!("{:?}", answer.verdict),
            answer.evidence.retry_after,
            context.spends,
        ));
    }

    fn books(&mut self) {
        let (books, status) = (&self.world.books, self.world.status());
        self.put(&(books.success_is_durable, books.accepted.is_some()));
        if !status.is_finished() {
            let excuses = i64::from(books.asked + books.given_up);
            self.put(&(i64::try_from(books.sent.len()).unwrap() - excuses));
        }
        if self.world.server.deleted {
            return;
        }
        let unresolved: Vec<&String> = books.started.difference(&books.resolved).collect();
        self.put(&unresolved.len());
        for id in unresolved {
            self.attempt(id);
        }
    }
}

fn kept_attempt(entry: &Entry) -> Option<&str> {
    match entry.memory.kept.as_ref()? {
        Fact::Called { attempt, .. } => Some(&attempt.id),
        _ => None,
    }
}
