//! A run, for a person to read.

use std::fmt;

use serde_json::Value;

use crate::history::{Record, What};

impl fmt::Display for Record {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:>12.3}  {}", self.at.as_secs_f64(), self.what)
    }
}

impl fmt::Display for What {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started { process, replica } => write!(formatter, "process {process} starts on machine {replica}"),
            Self::Killed { process } => write!(formatter, "process {process} is KILLED"),
            Self::Stopping { process } => write!(formatter, "process {process} is asked to stop"),
            Self::Ended { process, error: None } => write!(formatter, "process {process} has stopped"),
            Self::Ended {
                process,
                error: Some(error),
            } => write!(formatter, "process {process} ENDED BY ITSELF: {error}"),
            Self::Asked {
                ordinal, process, line, ..
            } => write!(formatter, "#{ordinal} process {process} → {line}"),
            Self::Stored { ordinal, before, after } => {
                match ordinal {
                    Some(ordinal) => write!(formatter, "#{ordinal} stored: ")?,
                    None => write!(formatter, "somebody stored: ")?,
                }
                stored(formatter, before.as_deref(), after.as_deref())
            }
            Self::Vendor { ordinal, call } => {
                let life = call
                    .life
                    .map_or_else(|| "unknown".to_owned(), |life| format!("life {life}"));
                let state = if call.active { "active" } else { "not active" };
                let effect = match call.effect {
                    crate::vendor::Effect::None => String::new(),
                    crate::vendor::Effect::Ended => " ENDS IT".to_owned(),
                    crate::vendor::Effect::Later(at) => format!(" ENDS IT at {:.3}", at.as_secs_f64()),
                };
                write!(
                    formatter,
                    "#{ordinal} vendor: {:?} {} ({life}, {state}){effect}, answers {} ({:?})",
                    call.operation, call.guest, call.status, call.told
                )
            }
            Self::Token { ordinal, status } => write!(formatter, "#{ordinal} vendor: token, answers {status}"),
            Self::Webhook { ordinal, delivery } => write!(
                formatter,
                "#{ordinal} receiver {}: {} answers {}",
                delivery.endpoint, delivery.id, delivery.status
            ),
            Self::Answered {
                ordinal,
                status,
                intact,
            } => match status {
                Some(status) if *intact => write!(formatter, "#{ordinal} ← {status}"),
                Some(status) => write!(formatter, "#{ordinal} ← {status}, not the server's own answer"),
                None => write!(formatter, "#{ordinal} ← no answer, the connection broke"),
            },
            Self::Life(life) => {
                let change = match life.change {
                    crate::vendor::Change::Begins => "begins".to_owned(),
                    crate::vendor::Change::Ends(None) => "ends by itself".to_owned(),
                    crate::vendor::Change::Ends(Some(ordinal)) => format!("ends by #{ordinal}"),
                };
                let at = life.at.as_secs_f64();
                write!(formatter, "== life {} of {} {change} at {at:.3}", life.life, life.guest)
            }
            Self::Log { text } => write!(formatter, "log: {text}"),
            Self::Calm => formatter.write_str("-- nothing goes wrong any more"),
            Self::Audit { process, line } => write!(formatter, "process {process} audit: {}", audit(line)),
            Self::World(what) => write!(formatter, "-- {what}"),
        }
    }
}

fn stored(formatter: &mut fmt::Formatter<'_>, before: Option<&Value>, after: Option<&Value>) -> fmt::Result {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let Some(object) = after.or(before) else { return Ok(()) };
    let name = format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]));
    let version = text(&object["metadata"]["resourceVersion"]);
    match (before, after) {
        (Some(_), None) => write!(formatter, "{name} DELETED"),
        (None, Some(_)) => write!(formatter, "{name} created @{version}"),
        (Some(before), Some(after)) => {
            write!(formatter, "{name} @{version}")?;
            for field in ["spec", "status"] {
                changes(formatter, field, &before[field], &after[field])?;
            }
            Ok(())
        }
        (None, None) => Ok(()),
    }
}

/// The fields that differ, by their paths.
fn changes(formatter: &mut fmt::Formatter<'_>, path: &str, before: &Value, after: &Value) -> fmt::Result {
    if before == after {
        return Ok(());
    }
    match (before.as_object(), after.as_object()) {
        (Some(before), Some(after)) => {
            let keys = before
                .keys()
                .chain(after.keys().filter(|key| !before.contains_key(*key)));
            for key in keys {
                let (before, after) = (before.get(key), after.get(key));
                let path = format!("{path}.{key}");
                changes(
                    formatter,
                    &path,
                    before.unwrap_or(&Value::Null),
                    after.unwrap_or(&Value::Null),
                )?;
            }
            Ok(())
        }
        (None, Some(after)) => {
            for (key, value) in after {
                changes(formatter, &format!("{path}.{key}"), &Value::Null, value)?;
            }
            Ok(())
        }
        // A value as long as a definition hides everything around it.
        _ => write!(formatter, " {path}={:.600}", after.to_string()),
    }
}

fn audit(line: &Value) -> String {
    let mut text = line["kind"].as_str().unwrap_or_default().to_owned();
    for (key, value) in line.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "timestamp" | "message" | "kind") && !value.is_null() {
            text += &format!(" {key}={value}");
        }
    }
    text
}
