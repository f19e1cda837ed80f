//! What GitOps tools make of an object: the generic rules of kstatus, written out from
//! `sigs.k8s.io/cli-utils/pkg/kstatus/status` (`checkGenericProperties`, `checkReadyCondition`, `Compute`).

use serde_json::Value;

/// The statuses that kstatus can give an object that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kstatus {
    /// It is being deleted.
    Terminating,
    /// What the object asks for is being worked on.
    InProgress,
    /// It cannot be had.
    Failed,
    /// It is there.
    Current,
}

/// What kstatus says of an object.
pub(crate) fn kstatus(object: &Value) -> Kstatus {
    let metadata = &object["metadata"];
    let status = &object["status"];
    if metadata["deletionTimestamp"]
        .as_str()
        .is_some_and(|time| !time.is_empty())
    {
        return Kstatus::Terminating;
    }
    let observed = status["observedGeneration"].as_i64();
    if let (Some(generation), Some(observed)) = (metadata["generation"].as_i64(), observed)
        && generation != observed
    {
        return Kstatus::InProgress;
    }
    let conditions = || status["conditions"].as_array().into_iter().flatten();
    // The first of the two in the list decides.
    for condition in conditions().filter(|condition| condition["status"] == "True") {
        match condition["type"].as_str() {
            Some("Reconciling") => return Kstatus::InProgress,
            Some("Stalled") => return Kstatus::Failed,
            _ => {}
        }
    }
    for condition in conditions().filter(|condition| condition["type"] == "Ready") {
        match condition["status"].as_str() {
            Some("True") => return Kstatus::Current,
            Some("False" | "Unknown") => return Kstatus::InProgress,
            _ => {}
        }
    }
    Kstatus::Current
}

mod tests {
    use serde_json::{Value, json};

    use super::{Kstatus, kstatus};

    fn object(observed: Value, conditions: &[(&str, &str)]) -> Value {
        let conditions: Vec<_> = conditions
            .iter()
            .map(|(type_, status)| json!({"type": type_, "status": status}))
            .collect();
        json!({
            "metadata": {"generation": 2},
            "status": {"observedGeneration": observed, "conditions": conditions},
        })
    }

    #[test]
    fn deletion_comes_before_everything() {
        let mut object = object(json!(1), &[("Stalled", "True")]);
        object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        assert_eq!(kstatus(&object), Kstatus::Terminating);
    }

    #[test]
    fn a_generation_that_was_not_observed_is_in_progress() {
        assert_eq!(kstatus(&object(json!(-1), &[])), Kstatus::InProgress);
        assert_eq!(kstatus(&object(json!(1), &[("Ready", "True")])), Kstatus::InProgress);
        assert_eq!(kstatus(&object(Value::Null, &[("Ready", "True")])), Kstatus::Current);
    }

    #[test]
    fn the_first_abnormal_condition_decides() {
        let now = json!(2);
        for (conditions, expected) in [
            (&[("Ready", "True"), ("Reconciling", "True")][..], Kstatus::InProgress),
            (&[("Ready", "True"), ("Stalled", "True")], Kstatus::Failed),
            (&[("Stalled", "True"), ("Reconciling", "True")], Kstatus::Failed),
            (&[("Reconciling", "True"), ("Stalled", "True")], Kstatus::InProgress),
            (&[("Stalled", "False"), ("Reconciling", "Unknown")], Kstatus::Current),
        ] {
            assert_eq!(kstatus(&object(now.clone(), conditions)), expected, "{conditions:?}");
        }
    }

    #[test]
    fn ready_decides_what_is_left() {
        for (status, expected) in [
            ("True", Kstatus::Current),
            ("False", Kstatus::InProgress),
            ("Unknown", Kstatus::InProgress),
            ("Perhaps", Kstatus::Current),
        ] {
            assert_eq!(kstatus(&object(json!(2), &[("Ready", status)])), expected, "{status}");
        }
        assert_eq!(kstatus(&object(json!(2), &[])), Kstatus::Current);
        assert_eq!(kstatus(&json!({"metadata": {"generation": 1}})), Kstatus::Current);
    }
}
