//! What the definitions of our kinds refuse by CEL, in Rust: the promises of the books, and what a spec may not say.
//!
//! The conformance test holds these against the real server. They count only while the installed definition carries
//! rules at all.

use std::str::FromStr;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use super::{kind::Kind, object::check_name, status::Cause};

/// Why CEL would refuse the change from `old`, or the creation if there is none.
pub(super) fn check(kind: &Kind, old: Option<&Value>, new: &Value) -> Vec<Cause> {
    if !kind.schema.as_ref().is_some_and(|schema| schema.has_rules) {
        return Vec::new();
    }
    let mut causes = Refused::default();
    causes.unless(
        new["metadata"]["name"].as_str().is_none_or(|name| name.len() <= 63),
        "<nil>",
    );
    match kind.name.as_str() {
        "GuestTermination" => {
            termination(new, &mut causes);
            if let Some(old) = old {
                termination_change(old, new, &mut causes);
            }
        }
        "GenesysConnection" => {
            connection(new, &mut causes);
            if let Some(old) = old {
                connection_change(old, new, &mut causes);
            }
        }
        _ => {}
    }
    causes.0
}

#[derive(Default)]
struct Refused(Vec<Cause>);

impl Refused {
    fn unless(&mut self, holds: bool, field: &str) {
        if !holds {
            self.0
                .push(Cause::invalid(field, "a rule of the definition does not hold"));
        }
    }
}

fn is_true(value: &Value) -> bool {
    *value == true
}

fn is_between(value: &Value, min: i64, max: i64) -> bool {
    value.as_i64().is_none_or(|number| (min..=max).contains(&number))
}

fn holds_text(value: &Value, rule: impl Fn(&str) -> bool) -> bool {
    value.as_str().is_none_or(rule)
}

fn is_guest_id(id: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = id.as_bytes();
    bytes.len() <= 128
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
        && !id.contains("..")
}

fn instant(value: &Value) -> Option<Timestamp> {
    Timestamp::from_str(value.as_str()?).ok()
}

fn is_instant(text: &str) -> bool {
    let seconds = Timestamp::from_str(text).map(Timestamp::as_second);
    // 2000-01-01 and 9999-01-01.
    text.len() >= 20 && seconds.is_ok_and(|seconds| (946_684_800..253_370_764_800).contains(&seconds))
}

fn termination(new: &Value, causes: &mut Refused) {
    let spec = &new["spec"];
    causes.unless(holds_text(&spec["guestId"], is_guest_id), "spec.guestId");
    causes.unless(is_between(&spec["backoffLimit"], 0, 50), "spec.backoffLimit");
    causes.unless(
        is_between(&spec["activeDeadlineSeconds"], 1, 31_536_000),
        "spec.activeDeadlineSeconds",
    );
    let plain = |text: &str| (1..=256).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    causes.unless(holds_text(&spec["externalRef"], plain), "spec.externalRef");
    causes.unless(holds_text(&spec["notAfter"], is_instant), "spec.notAfter");
    let name = |name: &str| name.len() <= 63 && check_name(name).is_none();
    causes.unless(
        holds_text(&spec["connectionRef"]["name"], name),
        "spec.connectionRef.name",
    );
}

fn termination_change(old: &Value, new: &Value, causes: &mut Refused) {
    let (spec, old_spec) = (&new["spec"], &old["spec"]);
    let (status, old_status) = (&new["status"], &old["status"]);
    for field in ["guestId", "reason", "retainData", "externalRef", "connectionRef"] {
        causes.unless(spec[field] == old_spec[field], &format!("spec.{field}"));
    }
    causes.unless(
        spec["notAfter"].is_null() == old_spec["notAfter"].is_null()
            && instant(&spec["notAfter"]) == instant(&old_spec["notAfter"]),
        "spec.notAfter",
    );
    let (finished, settled) = (is_true(&old_status["finished"]), is_true(&old_status["settled"]));
    let same = |field: &str| spec[field] == old_spec[field];
    causes.unless(!settled || spec == old_spec, "spec");
    causes.unless(
        !finished || settled || (same("suspend") && same("backoffLimit") && same("activeDeadlineSeconds")),
        "spec",
    );
    causes.unless(
        !finished || (is_true(&status["finished"]) && status["outcome"] == old_status["outcome"]),
        "status.outcome",
    );
    causes.unless(!settled || is_true(&status["settled"]), "status.settled");
    let doubt = is_true(&old_status["mayHaveApplied"]);
    causes.unless(!doubt || is_true(&status["mayHaveApplied"]), "status.mayHaveApplied");
    let attempts = |status: &Value| status["attempts"].as_i64().unwrap_or_default();
    causes.unless(attempts(status) >= attempts(old_status), "status.attempts");
}

fn connection(new: &Value, causes: &mut Refused) {
    let spec = &new["spec"];
    causes.unless(spec["region"].is_null() != spec["endpoints"].is_null(), "spec");
    let limits = &spec["rateLimit"];
    causes.unless(is_between(&limits["maxInFlight"], 1, 100), "spec.rateLimit.maxInFlight");
    causes.unless(
        is_between(&limits["requestsPerMinute"], 1, 100_000),
        "spec.rateLimit.requestsPerMinute",
    );
    for (index, webhook) in spec["webhooks"].as_array().into_iter().flatten().enumerate() {
        causes.unless(
            is_between(&webhook["timeoutSeconds"], 1, 30),
            &format!("spec.webhooks[{index}].timeoutSeconds"),
        );
    }
}

fn connection_change(old: &Value, new: &Value, causes: &mut Refused) {
    let (spec, old_spec) = (&new["spec"], &old["spec"]);
    causes.unless(spec["api"] == old_spec["api"], "spec.api");
    causes.unless(
        spec["region"] == old_spec["region"] && spec["endpoints"] == old_spec["endpoints"],
        "spec",
    );
}
