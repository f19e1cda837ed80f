//! The ledger while it is written.

use std::collections::BTreeMap;

use crate::answer::rfc3339;
use crate::api::{Call, Ledger, LedgerFilter, Moment, Occurrence, Operation, Outcome, Summary, WaitFor, WebhookCall};
use crate::call::Incoming;
use crate::receiver::Reception;
use crate::sessions::Now;
use crate::vendor::Done;

/// The calls since the last reset, by sequence number.
#[derive(Default)]
pub(crate) struct Book {
    sequence: u64,
    calls: BTreeMap<u64, Call>,
    webhooks: BTreeMap<u64, WebhookCall>,
    /// Open calls per guest, and the most there ever were.
    open: BTreeMap<String, u32>,
    most_open: BTreeMap<String, u32>,
}

/// How a call ended, as the ledger says it.
pub(crate) struct Ending {
    pub(crate) outcome: Outcome,
    pub(crate) status: Option<u16>,
    pub(crate) correlation_id: Option<String>,
    pub(crate) at_ms: u64,
}

/// What is known of a call when it arrives.
pub(crate) struct Arrival {
    pub(crate) now: Now,
    pub(crate) at_ms: u64,
    /// Ids of the token and of its client.
    pub(crate) token: Option<(String, String)>,
    pub(crate) fault: Option<u64>,
    pub(crate) outage: bool,
}

impl Book {
    /// Writes down that a call arrived, and returns its sequence number.
    pub(crate) fn arrived(&mut self, call: &Incoming, arrival: Arrival) -> u64 {
        self.sequence += 1;
        if call.operation == Operation::Webhook {
            self.webhooks
                .insert(self.sequence, webhook_entry(self.sequence, call, &arrival));
        } else {
            if let Some(guest) = &call.guest {
                let open = self.open.entry(guest.clone()).or_default();
                *open += 1;
                let most = self.most_open.entry(guest.clone()).or_default();
                *most = (*most).max(*open);
            }
            self.calls
                .insert(self.sequence, call_entry(self.sequence, call, arrival));
        }
        self.sequence
    }

    /// Writes down what the vendor did.
    pub(crate) fn served(&mut self, sequence: u64, done: &Done, at_ms: u64) {
        let Some(call) = self.calls.get_mut(&sequence) else {
            return;
        };
        call.incarnation = done.incarnation;
        call.told_state.clone_from(&done.told_state);
        call.effective = done.effective;
        call.effective_at_ms = done.effective.then_some(at_ms);
        call.token = done.token.clone().or(call.token.take());
        call.client = done.client.clone().or(call.client.take());
    }

    /// Writes down what the webhook receiver made of it.
    pub(crate) fn received(&mut self, sequence: u64, reception: &Reception) {
        let Some(call) = self.webhooks.get_mut(&sequence) else {
            return;
        };
        call.verified = reception.verified;
        call.refusal.clone_from(&reception.refusal);
        call.taken = reception.taken;
    }

    /// An accepted termination took effect.
    pub(crate) fn took_effect(&mut self, sequence: u64, at_ms: u64) {
        if let Some(call) = self.calls.get_mut(&sequence) {
            call.effective = true;
            call.effective_at_ms = Some(at_ms);
        }
    }

    pub(crate) fn ended(&mut self, sequence: u64, ending: Ending) {
        if let Some(call) = self.calls.get_mut(&sequence) {
            call.outcome = ending.outcome;
            call.status = ending.status;
            call.correlation_id = ending.correlation_id;
            call.answered_at_ms = Some(ending.at_ms);
        } else if let Some(call) = self.webhooks.get_mut(&sequence) {
            call.outcome = ending.outcome;
            call.status = ending.status;
            call.answered_at_ms = Some(ending.at_ms);
        }
    }

    /// The caller has its answer, or is gone without one.
    pub(crate) fn left(&mut self, sequence: u64, guest: Option<&str>, gone: bool) {
        if let Some(open) = guest.and_then(|guest| self.open.get_mut(guest)) {
            *open = open.saturating_sub(1);
        }
        if let Some(call) = self.calls.get_mut(&sequence) {
            call.caller_gone = gone;
        } else if let Some(call) = self.webhooks.get_mut(&sequence) {
            call.caller_gone = gone;
        }
    }

    pub(crate) fn reset(&mut self) {
        self.calls.clear();
        self.webhooks.clear();
        self.open.retain(|_, open| *open > 0);
        self.most_open = self.open.clone();
    }

    pub(crate) fn read(&self, filter: &LedgerFilter) -> Ledger {
        let wanted = |operation| filter.operation.is_none_or(|only| only == operation);
        let about = |guest: Option<&str>| filter.guest.is_none() || filter.guest.as_deref() == guest;
        let calls = self
            .calls
            .values()
            .filter(|call| wanted(call.operation) && about(call.guest.as_deref()));
        let webhooks = self
            .webhooks
            .values()
            .filter(|_| wanted(Operation::Webhook) && filter.guest.is_none());
        Ledger {
            calls: calls.cloned().collect(),
            webhooks: webhooks.cloned().collect(),
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary::of(&self.read(&LedgerFilter::default()), self.most_open.clone())
    }

    /// The first call that had the moment that somebody waits for.
    pub(crate) fn find(&self, wait: &WaitFor) -> Option<Occurrence> {
        let later = wait.after.saturating_add(1)..;
        let about = |guest: Option<&str>| wait.guest.is_none() || wait.guest.as_deref() == guest;
        let had = |effective: bool, outcome: Outcome| match wait.moment {
            Moment::Received => true,
            Moment::Effective => effective,
            Moment::Answered => outcome != Outcome::InFlight,
        };
        let sequence = if wait.operation == Operation::Webhook {
            let mut webhooks = self.webhooks.range(later);
            webhooks
                .find(|(_, call)| about(Some(&call.endpoint)) && had(call.taken, call.outcome))?
                .0
        } else {
            let mut calls = self
                .calls
                .range(later)
                .filter(|(_, call)| call.operation == wait.operation);
            calls
                .find(|(_, call)| about(call.guest.as_deref()) && had(call.effective, call.outcome))?
                .0
        };
        Some(Occurrence { sequence: *sequence })
    }
}

fn call_entry(sequence: u64, call: &Incoming, arrival: Arrival) -> Call {
    let (token, client) = arrival.token.unzip();
    Call {
        sequence,
        time: rfc3339(arrival.now.wall),
        at_ms: arrival.at_ms,
        operation: call.operation,
        method: call.method.to_string(),
        path_and_query: call.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        guest: call.guest.clone(),
        query: call.query.clone(),
        token,
        client,
        incarnation: None,
        told_state: None,
        effective: false,
        effective_at_ms: None,
        outcome: Outcome::InFlight,
        status: None,
        correlation_id: None,
        answered_at_ms: None,
        caller_gone: false,
        fault: arrival.fault,
        outage: arrival.outage,
    }
}

fn webhook_entry(sequence: u64, call: &Incoming, arrival: &Arrival) -> WebhookCall {
    let headers = call.headers.iter();
    WebhookCall {
        sequence,
        time: rfc3339(arrival.now.wall),
        at_ms: arrival.at_ms,
        endpoint: call.guest.clone().unwrap_or_default(),
        id: call.header("webhook-id").map(ToOwned::to_owned),
        timestamp: call.header("webhook-timestamp").map(ToOwned::to_owned),
        headers: headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body: call.body.to_vec(),
        verified: false,
        refusal: None,
        taken: false,
        outcome: Outcome::InFlight,
        status: None,
        answered_at_ms: None,
        caller_gone: false,
        fault: arrival.fault,
        outage: arrival.outage,
    }
}
