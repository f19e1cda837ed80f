//! Webhooks: I5 and I6.

use bytes::Bytes;
use serde_json::Value;

use super::{
    Invariant, Oracle, Verdict,
    books::{Object, Request, Sent},
    read::{at, condition, is_true, text, without_scheme},
    violation,
};
use crate::{history::Ordinal, vendor::Delivery};

/// Tries of the whole schedule.
const TRIES: u64 = 10;

impl Oracle {
    /// A webhook leaves: its end is durable (I6), and its body is the one that every try has, and says what the status
    /// says (I5).
    pub(super) fn webhook_departs(&mut self, ordinal: Ordinal, sent: Request, line: &str, body: &Bytes) -> Verdict {
        let read: Value = serde_json::from_slice(body).unwrap_or_default();
        let (format, data) = if read["specversion"].is_string() {
            ("CloudEvents", &read["data"])
        } else {
            ("Flat", &read)
        };
        let uid = text(data, &["resource", "uid"]).to_owned();
        let Some(object) = self.books.objects.get_mut(&uid) else {
            let sentence = format!("#{ordinal} is a webhook of an object that never was");
            return Err(violation(Invariant::I6, uid, sentence));
        };
        let good = object
            .end
            .as_ref()
            .is_some_and(|end| matches!(end.outcome.as_str(), "Terminated" | "AlreadyTerminated"));
        if !good {
            let sentence = format!("#{ordinal} announces an end that is not durable");
            return Err(violation(Invariant::I6, &*object, sentence));
        }
        if let Some(field) = lie(object, data) {
            let sentence = format!("the body of #{ordinal} says another {field} than the object");
            return Err(violation(Invariant::I5, &*object, sentence));
        }
        let promised = at(&object.last, &["status", "webhooks"]).as_array();
        if !promised.is_some_and(|all| all.iter().any(|one| text(one, &["format"]) == format)) {
            let sentence = format!("the body of #{ordinal} is {format}, and not in a format that the status promises");
            return Err(violation(Invariant::I5, &*object, sentence));
        }
        match object.bodies.get(format) {
            Some((first, other)) if first != body => {
                let sentence = format!("the body of #{ordinal} is not the one of #{other}");
                return Err(violation(Invariant::I5, &*object, sentence));
            }
            Some(_) => {}
            None => {
                object.bodies.insert(format, (body.clone(), ordinal));
            }
        }
        let endpoint = line
            .split_once(' ')
            .map_or("", |(_, uri)| without_scheme(uri))
            .to_owned();
        let webhook = Sent {
            sent,
            uid,
            endpoint,
            heard: None,
        };
        self.books.webhooks.insert(ordinal, webhook);
        Ok(())
    }

    /// A webhook arrived: I5, one id and a signature that its receiver knows.
    pub(super) fn delivered(&mut self, ordinal: Ordinal, delivery: &Delivery) -> Verdict {
        let Some(webhook) = self.books.webhooks.get(&ordinal) else {
            return Ok(());
        };
        let Some(object) = self.books.objects.get_mut(&webhook.uid) else {
            return Ok(());
        };
        let fail = |object: &Object, sentence| Err(violation(Invariant::I5, object, sentence));
        if !delivery.signed && !self.facts.keys_rotate {
            return fail(
                object,
                format!("the signature of #{ordinal} is not of a key of {}", delivery.endpoint),
            );
        }
        let promised = at(&object.last, &["status", "webhooks"]).as_array();
        let promised = promised.is_some_and(|all| all.iter().any(|one| text(one, &["messageId"]) == delivery.id));
        let first = object.message_id.get_or_insert_with(|| delivery.id.clone());
        if *first != delivery.id || !promised {
            let sentence = format!(
                "the id of #{ordinal} is {}, and not the one of the status or of the try before",
                delivery.id
            );
            return fail(object, sentence);
        }
        Ok(())
    }

    /// A status claims how far its webhooks are: *Delivered* rests on a 2xx that reached the writer, *Failed* on the end
    /// of the schedule, a 410, or an entry that is not there any more (I5).
    pub(super) fn delivery_claims(&self, ordinal: Option<Ordinal>, by: Option<Request>, after: &Value) -> Verdict {
        let Some(object) = self.books.objects.get(text(after, &["metadata", "uid"])) else {
            return Ok(());
        };
        let (Some(ordinal), Some(by)) = (ordinal, by) else {
            return Ok(());
        };
        let old = at(&object.last, &["status", "webhooks"]).as_array();
        let was = |name: &str| old.and_then(|all| all.iter().find(|one| text(one, &["name"]) == name));
        let connection = object
            .pinned
            .as_ref()
            .and_then(|(_, uid)| self.books.connections.get(uid));
        for webhook in at(after, &["status", "webhooks"]).as_array().into_iter().flatten() {
            let (name, state) = (text(webhook, &["name"]), text(webhook, &["state"]));
            let before = was(name).map_or("", |before| text(before, &["state"]));
            if state == before {
                continue;
            }
            let fail = |sentence: String| Err(violation(Invariant::I5, object, format!("#{ordinal}: {sentence}")));
            if before == "Delivered" || before == "Failed" {
                return fail(format!("webhook {name} was {before} and is {state}"));
            }
            let heard = |good: fn(u16) -> bool| {
                self.books.webhooks.values().any(|sent| {
                    let to = connection.is_none_or(|connection| connection.leads_to(name, &sent.endpoint));
                    sent.uid == object.uid && sent.sent.process == by.process && to && sent.heard.is_some_and(good)
                })
            };
            let right = match state {
                "Delivered" => heard(|status| status / 100 == 2),
                "Failed" if at(webhook, &["lastStatus"]) == 410 => heard(|status| status == 410),
                "Failed" => {
                    webhook["attempts"].as_u64() >= Some(TRIES)
                        || connection.is_none_or(|connection| connection.lacked(name))
                }
                _ => true,
            };
            if !right {
                return fail(format!(
                    "webhook {name} is {state}, and process {} heard nothing that says so",
                    by.process
                ));
            }
        }
        Ok(())
    }

    /// I5 at the end of a run, of an object that is settled.
    pub(super) fn announced(object: &Object) -> Verdict {
        let status = &object.last["status"];
        let webhooks = status["webhooks"].as_array().map(Vec::as_slice).unwrap_or_default();
        if webhooks.is_empty() {
            return Ok(());
        }
        let all = webhooks.iter().all(|webhook| text(webhook, &["state"]) == "Delivered");
        let said = condition(&object.last, "WebhookDelivered");
        let right = if all {
            said == "Delivered"
        } else {
            matches!(said, "DeliveryFailed" | "EndpointGone" | "EndpointRemoved")
        };
        if !right {
            let sentence = format!(
                "WebhookDelivered says {said:?}, and the webhooks are {}",
                status["webhooks"]
            );
            return Err(violation(Invariant::I5, object, sentence));
        }
        Ok(())
    }
}

/// The field of a body that says something else than the object.
fn lie(object: &Object, data: &Value) -> Option<&'static str> {
    let (spec, status) = (&object.last["spec"], &object.last["status"]);
    let pairs = [
        ("guest_id", data["guest_id"] == spec["guestId"]),
        ("reason", data["reason"] == spec["reason"]),
        ("retain_data", data["retain_data"] == spec["retainData"]),
        ("external_ref", data["external_ref"] == spec["externalRef"]),
        ("outcome", data["outcome"] == status["outcome"]),
        (
            "duplicate_termination",
            data["duplicate_termination"].as_bool() == Some(is_true(status, &["audit", "duplicateTermination"])),
        ),
        ("resource.name", text(data, &["resource", "name"]) == object.name),
        (
            "resource.namespace",
            text(data, &["resource", "namespace"]) == object.namespace,
        ),
    ];
    pairs.into_iter().find(|(_, same)| !same).map(|(field, _)| field)
}
