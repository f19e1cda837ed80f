//! The invariants, checked from the books of the world and never from what the operator says of itself.

use std::{collections::BTreeSet, rc::Rc};

use k8s_openapi::jiff::Timestamp;

use super::{
    super::laws::check_transition,
    actions::Work,
    world::{LateEffect, World},
};
use crate::{
    api::{AttemptResult, GuestTerminationStatus as Status, Outcome, WebhookState},
    termination::{records::Record, request::Request},
};

/// What the ledgers of the vendor, the API server, the endpoint and the audit log hold.
#[derive(Clone, Default)]
pub(super) struct Books {
    /// Attempts whose intent is, or was, durable.
    pub(super) intended: BTreeSet<String>,
    /// Attempts whose call left.
    pub(super) sent: BTreeSet<String>,
    /// Attempts that the audit log says begun, and over.
    pub(super) started: BTreeSet<String>,
    pub(super) resolved: BTreeSet<String>,
    /// Answers that ask for another call.
    pub(super) asked: u32,
    /// Intents that were given up durably: a crash or a change of the leader came between intent and result.
    pub(super) given_up: u32,
    /// A successful end is, or was, durable.
    pub(super) success_is_durable: bool,
    /// A call left though the end was durable.
    pub(super) after_end: bool,
    /// The body that the endpoint accepted.
    pub(super) accepted: Option<Rc<[u8]>>,
}

/// What a process has seen of the truth.
#[derive(Clone, Copy, Default)]
pub(super) struct Witness {
    /// A true *applied* or *gone* reached it.
    pub(super) knows_end: bool,
    /// The incarnation that its last look saw active.
    pub(super) saw_active: Option<u32>,
}

impl Books {
    /// What the audit log is told.
    pub(super) fn announce(&mut self, records: &[Record]) {
        for record in records {
            let Record::Audit(line) = record else { continue };
            let field = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
            match field("kind").as_str() {
                "attempt_started" => self.started.insert(field("attempt_id")),
                "attempt_result" => self.resolved.insert(field("attempt_id")),
                _ => false,
            };
        }
    }

    /// What becomes durable.
    pub(super) fn durable(&mut self, old: &Status, new: &Status, now: Timestamp) {
        check_transition(old, new, now);
        if let Some(open) = &new.current_attempt
            && old.current_attempt.as_ref().is_none_or(|before| before.id != open.id)
        {
            assert!(old.current_attempt.is_none(), "an intent in place of another one");
            assert!(self.intended.insert(open.id.clone()), "an id that was used before");
        }
        let given_up = |status: &Status| {
            let over = |result| matches!(result, AttemptResult::Abandoned | AttemptResult::Accepted);
            status.history.iter().filter(|entry| over(entry.result)).count()
        };
        self.given_up += u32::try_from(given_up(new).saturating_sub(given_up(old))).unwrap();
        self.success_is_durable |= is_success(new);
    }

    /// What the endpoint takes: the same at each try.
    pub(super) fn accept(&mut self, body: &[u8]) {
        if let Some(before) = &self.accepted {
            assert_eq!(before.as_ref(), body, "I5: one body");
        }
        self.accepted = Some(body.into());
    }
}

fn is_success(status: &Status) -> bool {
    matches!(status.outcome, Some(Outcome::Terminated | Outcome::AlreadyTerminated))
}

impl World {
    pub(super) fn request(&self) -> Request {
        Request::parse(&self.server.object).unwrap()
    }

    fn call_is_late(&self) -> bool {
        self.late.iter().any(|late| matches!(late.what, LateEffect::Call))
    }

    /// Before a call leaves.
    pub(super) fn check_send(&mut self, process: usize, id: &str) {
        let (books, status) = (&self.books, self.status());
        assert!(books.intended.contains(id), "I2: sent without a durable intent");
        assert!(books.started.contains(id), "I9: sent without its audit line");
        assert!(!books.sent.contains(id), "I1 (a): one intent, two calls");
        let excuses = usize::try_from(books.asked + books.given_up).unwrap();
        assert!(
            books.sent.len() <= excuses,
            "I1 (a): a call that nothing asked for, {} were sent",
            books.sent.len()
        );
        let request = self.request();
        let in_time = |limit: Option<Timestamp>| limit.is_none_or(|limit| self.now <= limit);
        assert!(in_time(request.not_after), "I2: sent after notAfter");
        assert!(
            in_time(status.deadline_time.as_ref().map(|time| time.0)),
            "I2: sent past the deadline"
        );
        assert!(
            !self.processes[process].witness.knows_end,
            "I1 (b): sent after an applied or a gone reached the process"
        );
        // Of two leaders one may not have heard yet of the end that the other one wrote.
        let after_end = status.is_finished() && !self.server.deleted;
        assert!(
            !after_end || self.processes.len() > 1,
            "I1 (b): sent after the end was durable"
        );
        let open = status.current_attempt.as_ref().is_some_and(|open| open.id == id);
        assert!(
            open || after_end || self.server.deleted,
            "I2: sent under an intent that was given up"
        );
        let ended_before = !self.vendor.ended_by_us.is_empty() || self.call_is_late();
        assert!(
            !ended_before || status.may_have_applied(),
            "I1 (c): a second session may end though nothing was in doubt"
        );
        self.books.after_end |= after_end;
        self.books.sent.insert(id.to_owned());
    }

    /// When a status becomes durable, by what its writer knew when it wrote.
    pub(super) fn check_store(&self, new: &Status, witness: Witness) {
        if self.status().is_finished() || !new.is_finished() {
            return;
        }
        let ours = !self.vendor.ended_by_us.is_empty() || self.call_is_late();
        match new.outcome.unwrap() {
            Outcome::Terminated | Outcome::AlreadyTerminated => {
                assert!(witness.knows_end, "I4: green without evidence");
                let duplicate = new.outcome == Some(Outcome::AlreadyTerminated);
                assert!(!duplicate || !ours, "I4: already over, and it was us");
                assert!(
                    duplicate || !self.books.intended.is_empty(),
                    "I4: this object's doing, without an intent"
                );
            }
            Outcome::Unconfirmed => assert!(new.may_have_applied(), "unconfirmed without a doubt"),
            _ if new.may_have_applied() => {
                let seen = witness.saw_active.unwrap();
                assert!(
                    !self.vendor.ended_by_us.contains(&seen) && !self.call_is_late(),
                    "I4: failed, and the session that was seen active was ended by us"
                );
            }
            _ => assert!(!ours, "I4: failed, and yet our call took effect"),
        }
    }

    /// When nothing can happen any more.
    pub(super) fn check_end(&self) {
        let (status, books) = (self.status(), &self.books);
        for process in 0..self.processes.len() {
            assert!(
                matches!(self.work(process), Work::Wait(None)),
                "I13: it has something to do"
            );
        }
        assert!(books.sent.is_subset(&books.started), "I9: a call without its line");
        if self.server.deleted {
            return;
        }
        assert!(status.is_finished() && status.is_settled(), "I13: it never ends");
        assert!(books.started.is_subset(&books.resolved), "I9: a line without a result");
        assert_eq!(is_success(status), books.success_is_durable, "I3");
        assert_eq!(is_success(status), !status.webhooks.is_empty());
        for webhook in &status.webhooks {
            let accepted = books.accepted.is_some();
            match webhook.state {
                WebhookState::Delivered => assert!(accepted, "I5: delivered to nobody"),
                WebhookState::Failed => assert_eq!(webhook.last_status, Some(410), "I5: given up early"),
                WebhookState::Pending => panic!("I5: settled with a webhook pending"),
            }
        }
    }
}
