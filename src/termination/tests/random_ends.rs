//! What holds when a random run is over, and until its webhooks are.

use super::driver::Run;
use crate::{
    api::{
        ConfirmedBy, Outcome,
        conditions::{ConditionStatus as Is, ConditionType as Type, has_status},
    },
    termination::{
        decide::{Step, pending_webhooks},
        fact::{Fact, WebhookAnswer},
    },
};

impl Run {
    pub(super) fn check_end(&mut self) {
        let status = self.bench.status.clone();
        let audit = status.audit.clone().unwrap();
        // I4
        match status.outcome.unwrap() {
            Outcome::Terminated | Outcome::AlreadyTerminated => {
                assert!(self.ended_for_us, "green without evidence");
                assert_eq!(status.connection.as_ref().unwrap().uid, "connection-1");
                assert_eq!(
                    audit.duplicate_termination,
                    status.outcome == Some(Outcome::AlreadyTerminated)
                );
            }
            Outcome::Unconfirmed => assert!(status.may_have_applied()),
            _ if status.may_have_applied() => {
                let seen = self.seen_active.unwrap();
                assert!(
                    !self.vendor.ended_by_us.contains(&seen),
                    "the deciding look saw a session that we ended"
                );
            }
            _ => assert!(!self.vendor.may_be_ours(), "a failure, and yet our call took effect"),
        }
        if status.outcome == Some(Outcome::AlreadyTerminated) {
            assert!(self.vendor.ended_by_us.is_empty(), "it was us");
        }
        let sent = has_status(&status.conditions, Type::RetentionApplied, Is::True);
        assert_eq!(sent, audit.confirmed_by == Some(ConfirmedBy::Response));
        assert!(
            status.retries <= self.bench.object.spec.backoff_limit.max(6) + 1,
            "more retries than the budget"
        );
        assert!(self.sends <= usize::try_from(status.attempts).unwrap());
        self.check_audit(usize::try_from(status.attempts).unwrap());
        self.deliver();
        assert!(self.bench.status.is_settled());
        assert_eq!(self.bench.step(), Step::Rest);
        assert!(self.webhook_ids.len() <= 1, "one id for each event");
        // Whatever comes afterwards, it stays so.
        let settled = self.bench.status.clone();
        for (_, fact) in std::mem::take(&mut self.late) {
            self.write(&fact);
        }
        self.edit(|spec| spec.suspend = !spec.suspend);
        assert_eq!(self.bench.step(), Step::Rest);
        assert_eq!(self.bench.status, settled);
    }

    /// I9: one line for each start, at least one for each result, one for the outcome.
    fn check_audit(&self, attempts: usize) {
        let ids = |kind: &str| -> Vec<&str> {
            let lines = self.audit.iter().filter(|(line, _)| line == kind);
            lines.map(|(_, id)| id.as_str()).collect()
        };
        let mut started = ids("attempt_started");
        started.sort_unstable();
        let mut all: Vec<String> = (1..=attempts).map(|number| format!("attempt-{number}")).collect();
        all.sort();
        assert_eq!(started, all, "one line for each intent");
        let mut resolved = ids("attempt_result");
        resolved.sort_unstable();
        resolved.dedup();
        assert_eq!(resolved, all, "each attempt comes to a result");
        assert_eq!(ids("outcome").len(), 1);
    }

    fn deliver(&mut self) {
        for _ in 0..12 {
            let status = self.bench.status.clone();
            let Some((name, due)) = pending_webhooks(&status).next() else {
                return;
            };
            self.pass_to(due.unwrap_or(self.bench.now));
            let answer = match self.chance.pick(6) {
                5 => WebhookAnswer::Panicked,
                4 => WebhookAnswer::Gone,
                3 => WebhookAnswer::Removed,
                1 | 2 => WebhookAnswer::Failed {
                    status: Some(500),
                    retry_after: None,
                    why: "HTTP 500".to_owned(),
                },
                _ => WebhookAnswer::Accepted { status: 200 },
            };
            let name = name.to_owned();
            self.write(&Fact::WebhookTried {
                name,
                answer,
                jitter: 0.5,
            });
        }
        panic!("the webhook is tried for ever");
    }
}
