//! A status of any version of the operator, and of whoever else wrote it.

use serde_json::Value;

use super::GuestTerminationStatus as Status;
use crate::fuzz::fuzz;

/// Whether everything that `was` says is said by `is`. Absent, null and the default are one to the API server's readers.
fn keeps(was: &Value, is: Option<&Value>) -> bool {
    match (was, is) {
        (Value::Object(was), Some(is)) => was.iter().all(|(key, value)| keeps(value, is.get(key))),
        (Value::Array(was), Some(Value::Array(is))) => {
            was.len() == is.len() && was.iter().zip(is).all(|(was, is)| keeps(was, Some(is)))
        }
        (Value::Null, None) => true,
        (Value::Array(was), None) => was.is_empty(),
        (Value::Number(was), None) => was.as_i64() == Some(0),
        (Value::String(was), Some(Value::String(is))) => was == is || same_instant(was, is),
        (was, is) => is == Some(was),
    }
}

fn same_instant(was: &str, is: &str) -> bool {
    let instant = |text: &str| {
        text.parse::<k8s_openapi::jiff::Timestamp>()
            .ok()
            .map(|time| time.as_second())
    };
    instant(was).is_some_and(|was| Some(was) == instant(is))
}

#[test]
fn a_status_is_read_and_written_without_loss() {
    let words = [
        "null",
        "true",
        "false",
        "-1",
        "0",
        "99999999999",
        "1e3",
        "\"\"",
        "{}",
        "[]",
        ",",
        "\"aNewerField\":{\"kept\":[1]}",
        "\"attempts\":1",
        "\"finished\":true",
        "\"settled\":true",
        "\"mayHaveApplied\":true",
        "\"phase\":\"Draining\"",
        "\"2026-01-01T00:00:00Z\"",
        "\"2026-01-01T00:00:00.5+02:00\"",
    ];
    fuzz("status", &words, |input| {
        let Ok(mut told) = serde_json::from_slice::<Value>(input) else {
            return;
        };
        let Ok(status) = serde_json::from_slice::<Status>(input) else {
            return;
        };
        // A condition is Kubernetes's own type, and its schema lets nothing else in.
        let known = [
            "type",
            "status",
            "reason",
            "message",
            "lastTransitionTime",
            "observedGeneration",
        ];
        for condition in told
            .get_mut("conditions")
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if let Some(fields) = condition.as_object_mut() {
                fields.retain(|name, _| known.contains(&name.as_str()));
            }
        }
        let written = serde_json::to_value(&status).unwrap();
        assert!(keeps(&told, Some(&written)), "{told} became {written}");
        // Once written, it stays the same; fractions of seconds are the only thing that a first writing drops.
        let again: Status = serde_json::from_value(written.clone()).unwrap();
        assert_eq!(serde_json::to_value(&again).unwrap(), written);
        assert_eq!(told["finished"] == true, status.is_finished());
        assert_eq!(told["mayHaveApplied"] == true, status.may_have_applied());
    });
}
