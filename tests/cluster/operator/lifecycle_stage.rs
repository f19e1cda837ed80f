//! What the tests of an object's life do to it, and what they read of it.

use std::time::Duration;

use guest_termination_operator::{
    controller::settings::{Pacing, Settings},
    termination::policy::Policy,
};
use k8s_openapi::{api::events::v1::Event, jiff::Timestamp};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};
use simulator::api::{FaultAction, FaultSpec, LedgerFilter, Moment, Operation, WaitFor};

use crate::stage::{Operator, Stage};

/// Long enough for the operator to do what it must not do.
pub(crate) const A_WHILE: Duration = Duration::from_millis(1500);

impl Stage<'_> {
    /// Changes an object's spec or metadata by a merge patch.
    pub(crate) async fn edit(&self, name: &str, patch: Value) {
        self.terminations()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    /// Changes an object's status by a merge patch, as a stranger with the right to do so would.
    pub(crate) async fn forge(&self, name: &str, status: Value) {
        self.terminations()
            .patch_status(
                name,
                &PatchParams::default(),
                &Patch::Merge(json!({ "status": status })),
            )
            .await
            .unwrap();
    }

    pub(crate) async fn delete(&self, name: &str) {
        self.terminations()
            .delete(name, &DeleteParams::default())
            .await
            .unwrap();
    }

    /// The reasons of the Events about the object of that name, sorted.
    pub(crate) async fn events(&self, name: &str) -> Vec<String> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let events = api.list(&ListParams::default()).await.unwrap();
        let about = |event: &Event| {
            event
                .regarding
                .as_ref()
                .is_some_and(|regarding| regarding.name.as_deref() == Some(name))
        };
        let mut reasons: Vec<_> = events
            .into_iter()
            .filter(about)
            .filter_map(|event| event.reason)
            .collect();
        reasons.sort();
        reasons
    }

    /// The same, once they are these. Events are the last thing that is written, and best effort.
    pub(crate) async fn events_until(&self, name: &str, wanted: &[&str]) {
        let mut last = Vec::new();
        for _ in 0..200 {
            last = self.events(name).await;
            if last == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(last, wanted, "the Events about {name}");
    }

    /// How often the vendor was asked that about a guest.
    pub(crate) fn asked(&self, operation: Operation, guest: &str) -> usize {
        let filter = LedgerFilter {
            guest: Some(guest.to_owned()),
            operation: Some(operation),
        };
        self.simulator.ledger_of(&filter).calls.len()
    }

    /// How often the vendor was asked anything about a guest, and how many of the calls ended a session.
    pub(crate) fn calls_of(&self, guest: &str) -> (usize, usize) {
        let filter = LedgerFilter {
            guest: Some(guest.to_owned()),
            operation: None,
        };
        let calls = self.simulator.ledger_of(&filter).calls;
        (calls.len(), calls.iter().filter(|call| call.effective).count())
    }

    /// Waits until a call has come to that moment.
    pub(crate) async fn happens(&self, operation: Operation, moment: Moment, guest: &str) {
        let wait = WaitFor {
            timeout_ms: 60_000,
            ..WaitFor::new(operation, moment).guest(guest)
        };
        assert!(
            self.simulator.wait_for(&wait).await.is_some(),
            "no {operation:?} of {guest} was {moment:?}"
        );
    }

    /// The next terminate call of the guest breaks off without an answer.
    pub(crate) fn break_off(&self, guest: &str, after_effect: bool) {
        let fault = FaultSpec::on(Operation::Terminate)
            .guest(guest)
            .times(1)
            .action(FaultAction::Reset { after_effect });
        self.simulator.add_fault(fault).unwrap();
    }
}

impl Operator {
    /// The audit lines of one object: kind, result or outcome, and success.
    pub(crate) fn story(&self, name: &str) -> Vec<String> {
        let lines = self.lines();
        let of = lines.iter().filter(|line| line["name"] == name);
        of.map(|line| {
            let word = |field: &str| line[field].as_str().map(|word| format!(" {word}")).unwrap_or_default();
            let result = if line["kind"] == "attempt_result" {
                word("result")
            } else {
                word("outcome")
            };
            format!("{}{result}", line["kind"].as_str().unwrap())
        })
        .collect()
    }
}

/// The stage's settings with spans of the termination core that a test can wait for.
pub(crate) fn with_policy(stage: &Stage<'_>, change: impl FnOnce(&mut Policy)) -> Settings {
    let mut settings = stage.settings();
    change(&mut settings.policy);
    settings
}

/// The stage's settings with other spans of the shell.
pub(crate) fn with_pacing(stage: &Stage<'_>, change: impl FnOnce(&mut Pacing)) -> Settings {
    let mut settings = stage.settings();
    change(&mut settings.pacing);
    settings
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An instant so many seconds from now, as a manifest says it.
pub(crate) fn from_now(seconds: i64) -> String {
    let now = Timestamp::now().as_second();
    Timestamp::from_second(now + seconds).unwrap().to_string()
}

/// The instant that a field of an object holds.
pub(crate) fn instant(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}
