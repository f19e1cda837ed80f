//! Whether everything ended as it must: the objects, the Events, the audit lines, and what the vendor and the webhook
//! receiver saw.

use crate::cases::{Case, HELD};
use serde_json::Value;
use simulator::api::{Call, Ledger, Operation, WebhookCall};
use std::collections::BTreeSet;
use std::fmt;

/// What was found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// The GuestTerminations.
    pub(crate) objects: Vec<Value>,
    /// The Events (`events.k8s.io/v1`).
    pub(crate) events: Vec<Value>,
    /// The audit lines.
    pub(crate) audit: Vec<Value>,
    /// What the vendor and the receiver saw.
    pub(crate) ledger: Ledger,
}

/// Something that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    object: String,
    what: &'static str,
    expected: String,
    found: String,
    look_at: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}: {}\n    expected: {}\n    found:    {}\n    look at:  {}",
            self.object, self.what, self.expected, self.found, self.look_at
        )
    }
}

/// All that is wrong with these cases.
pub(crate) fn problems(cases: &[Case], found: &Found) -> Vec<Problem> {
    let mut problems: Vec<_> = cases.iter().flat_map(|case| of_case(case, found)).collect();
    let announced = cases.iter().filter(|case| case.expected.announced).count();
    let ids: BTreeSet<_> = found.ledger.webhooks.iter().map(|webhook| &webhook.id).collect();
    if ids.len() != announced {
        problems.push(Problem {
            object: "webhooks".to_owned(),
            what: "the number of different webhook ids",
            expected: announced.to_string(),
            found: ids.len().to_string(),
            look_at: "the webhooks received".to_owned(),
        });
    }
    problems
}

/// Collects what is wrong with one object.
struct Judge<'a> {
    case: &'a Case,
    problems: Vec<Problem>,
}

impl Judge<'_> {
    fn expect(&mut self, what: &'static str, expected: impl fmt::Display, found: impl fmt::Display, look_at: &str) {
        let (expected, found) = (expected.to_string(), found.to_string());
        if expected != found {
            self.problems.push(Problem {
                object: self.case.name.to_owned(),
                what,
                expected,
                found,
                look_at: look_at.to_owned(),
            });
        }
    }
}

fn of_case(case: &Case, found: &Found) -> Vec<Problem> {
    let mut judge = Judge {
        case,
        problems: Vec::new(),
    };
    let described = format!("kubectl describe gterm {}", case.name);
    let Some(object) = found
        .objects
        .iter()
        .find(|object| object["metadata"]["name"] == case.name)
    else {
        judge.expect("the object", "there", "not there", "kubectl get gterm");
        return judge.problems;
    };
    of_object(&mut judge, object, &described);
    of_events(&mut judge, object, &found.events, &described);
    of_audit(&mut judge, object, &found.audit);
    of_calls(&mut judge, object, &found.ledger.calls);
    of_webhooks(&mut judge, object, &found.ledger.webhooks);
    judge.problems
}

fn of_object(judge: &mut Judge<'_>, object: &Value, described: &str) {
    let expected = judge.case.expected;
    let status = &object["status"];
    judge.expect("status.phase", expected.phase, text(&status["phase"]), described);
    judge.expect("status.outcome", expected.outcome, text(&status["outcome"]), described);
    judge.expect("status.settled", "true", text(&status["settled"]), described);
    let finished = format!("True {}", expected.outcome);
    let delivered = if expected.announced { "True Delivered" } else { "none" };
    let suspended = if judge.case.name == HELD {
        "False NotSuspended"
    } else {
        "none"
    };
    for (kind, what, expected) in [
        ("Ready", "the condition Ready", expected.ready.unwrap_or("none")),
        ("Finished", "the condition Finished", &finished),
        ("RetentionApplied", "the condition RetentionApplied", expected.retention),
        ("WebhookDelivered", "the condition WebhookDelivered", delivered),
        ("Suspended", "the condition Suspended", suspended),
    ] {
        let (found, message) = condition(status, kind);
        if found != expected {
            judge.expect(what, expected, format!("{found} {message}"), described);
        }
    }
}

/// One cause may come up more than once; which causes came up is what matters.
fn of_events(judge: &mut Judge<'_>, object: &Value, events: &[Value], described: &str) {
    let own = |event: &&Value| event["regarding"]["uid"] == object["metadata"]["uid"];
    let found: BTreeSet<_> = events
        .iter()
        .filter(own)
        .map(|event| format!("{} {}", text(&event["type"]), text(&event["reason"])))
        .collect();
    let expected: BTreeSet<_> = judge
        .case
        .expected
        .events
        .iter()
        .map(|event| (*event).to_owned())
        .collect();
    judge.expect("the Events", listed(expected), listed(found), described);
}

/// Every attempt is announced before its call leaves and has a result; a call was made unless that says `NotSent`.
fn of_audit(judge: &mut Judge<'_>, object: &Value, audit: &[Value]) {
    const LOOK: &str = "the audit lines, and the operator's log";
    let expected = judge.case.expected;
    let own: Vec<_> = audit
        .iter()
        .filter(|line| line["uid"] == object["metadata"]["uid"])
        .collect();
    let of_kind = |kind: &str| own.iter().filter(|line| line["kind"] == kind).collect::<Vec<_>>();
    let attempts = object["status"]["attempts"].as_u64().unwrap_or(0);
    let (started, results, outcomes) = (
        of_kind("attempt_started"),
        of_kind("attempt_result"),
        of_kind("outcome"),
    );
    judge.expect("its audit lines attempt_started", attempts, started.len(), LOOK);
    judge.expect("its audit lines attempt_result", attempts, results.len(), LOOK);
    let sent = results.iter().filter(|line| line["result"] != "NotSent").count();
    judge.expect(
        "the attempts that were sent, by its audit lines",
        expected.sent,
        sent,
        LOOK,
    );
    judge.expect("its audit lines outcome", 1, outcomes.len(), LOOK);
    for line in outcomes {
        judge.expect(
            "the outcome in its audit line",
            expected.outcome,
            text(&line["outcome"]),
            LOOK,
        );
        judge.expect(
            "the success in its audit line",
            expected.announced,
            text(&line["success"]),
            LOOK,
        );
    }
}

fn of_calls(judge: &mut Judge<'_>, object: &Value, calls: &[Call]) {
    const LOOK: &str = "the calls in the simulator's ledger (GET /_control/ledger)";
    let expected = judge.case.expected;
    let spec = &object["spec"];
    let guest = spec["guestId"].as_str();
    let own: Vec<_> = calls.iter().filter(|call| call.guest.as_deref() == guest).collect();
    let count = |operation| own.iter().filter(|call| call.operation == operation).count();
    judge.expect(
        "the terminate calls about its guest",
        expected.sent,
        count(Operation::Terminate),
        LOOK,
    );
    let looked = count(Operation::Observe) > 0;
    judge.expect("whether its session was looked at", expected.looked, looked, LOOK);
    let effective: Vec<_> = own.iter().filter(|call| call.effective).collect();
    judge.expect(
        "the calls that ended its session",
        u8::from(expected.ended),
        effective.len(),
        LOOK,
    );
    for call in effective {
        let parameter = |name| call.parameter(name).unwrap_or("nothing").to_owned();
        judge.expect(
            "the reason that was sent",
            text(&spec["reason"]),
            parameter("reason"),
            LOOK,
        );
        judge.expect(
            "the retainData that was sent",
            text(&spec["retainData"]),
            parameter("retainData"),
            LOOK,
        );
        judge.expect(
            "the externalRef that was sent",
            text(&spec["externalRef"]),
            parameter("externalRef"),
            LOOK,
        );
    }
}

fn of_webhooks(judge: &mut Judge<'_>, object: &Value, webhooks: &[WebhookCall]) {
    const LOOK: &str = "the webhooks received, and the operator's log";
    let expected = judge.case.expected;
    let own: Vec<_> = webhooks
        .iter()
        .filter(|webhook| body(webhook)["resource"]["uid"] == object["metadata"]["uid"])
        .collect();
    let ids: BTreeSet<_> = own
        .iter()
        .map(|webhook| webhook.id.clone().unwrap_or_default())
        .collect();
    judge.expect("its webhook ids", usize::from(expected.announced), ids.len(), LOOK);
    if !ids.is_empty() {
        let recorded = object["status"]["webhooks"].as_array().into_iter().flatten();
        let recorded = recorded.map(|webhook| text(&webhook["messageId"])).collect();
        judge.expect("its webhook id", listed(recorded), listed(ids), LOOK);
    }
    for webhook in own {
        let refusal = webhook.refusal.as_deref().unwrap_or("yes");
        judge.expect("whether its webhook is verified", "yes", refusal, LOOK);
        let outcome = text(&body(webhook)["outcome"]);
        judge.expect("the outcome in its webhook", expected.outcome, outcome, LOOK);
    }
}

/// What a webhook says; null if that is no JSON.
pub(crate) fn body(webhook: &WebhookCall) -> Value {
    serde_json::from_slice(&webhook.body).unwrap_or_default()
}

/// Status and reason of a condition, and its message.
fn condition(status: &Value, kind: &str) -> (String, String) {
    let conditions = status["conditions"].as_array().into_iter().flatten();
    match conditions.into_iter().find(|condition| condition["type"] == kind) {
        Some(condition) => {
            let found = format!("{} {}", text(&condition["status"]), text(&condition["reason"]));
            (found, text(&condition["message"]))
        }
        None => ("none".to_owned(), String::new()),
    }
}

/// A scalar as people write it.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "nothing".to_owned(),
        other => other.to_string(),
    }
}

fn listed(words: BTreeSet<String>) -> String {
    if words.is_empty() {
        return "none".to_owned();
    }
    words.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests;
