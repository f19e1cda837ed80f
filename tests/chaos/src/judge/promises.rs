//! The promises, one check each.

use std::collections::{BTreeMap, BTreeSet};

use guest_termination_operator::api::{Outcome, WebhookState};
use k8s_openapi::jiff::SignedDuration;
use simulator::api::{Call, Operation, WebhookCall};

use super::{
    Evidence, Rules, Verdict, Violation, instant,
    story::{self, Story, Write},
};

/// Judges a run. An error only if the evidence itself cannot be read.
pub fn judge(evidence: &Evidence, rules: &Rules) -> anyhow::Result<Verdict> {
    let mut judge = Judge {
        evidence,
        rules,
        verdict: Verdict::default(),
    };
    judge.processes();
    let stories = story::stories(evidence)?;
    let mut webhooks: BTreeMap<&str, Vec<&WebhookCall>> = BTreeMap::new();
    for call in &evidence.ledger.webhooks {
        webhooks
            .entry(call.id.as_deref().unwrap_or_default())
            .or_default()
            .push(call);
    }
    for story in &stories {
        judge.calls(story);
        judge.end(story);
        judge.audit(story);
        judge.history(story);
        judge.parameters(story);
        judge.outbox(story, &mut webhooks)?;
    }
    for (id, calls) in webhooks.iter().filter(|_| rules.lost == 0) {
        judge.broken("I5", id, format!("{} calls with an id that no object has", calls.len()));
    }
    if rules.lost == 0 {
        judge.strangers(&stories);
    }
    judge.minute()?;
    judge.count(&stories);
    Ok(judge.verdict)
}

struct Judge<'a> {
    evidence: &'a Evidence,
    rules: &'a Rules,
    verdict: Verdict,
}

impl Judge<'_> {
    fn broken(&mut self, promise: &'static str, who: &str, evidence: impl Into<String>) {
        self.verdict.violations.push(Violation {
            promise,
            who: who.to_owned(),
            evidence: evidence.into(),
        });
    }

    /// No process ends by itself, writes anything but audit lines to its standard output, or tells a secret.
    fn processes(&mut self) {
        let found = self.evidence.objects.len();
        let expected = self.evidence.expected - self.rules.lost;
        if found != expected {
            self.broken(
                "I13",
                "the objects",
                format!("{expected} were created, {found} are there"),
            );
        }
        for leak in &self.evidence.leaks {
            self.broken("I10", "a secret", leak.clone());
        }
        for life in &self.evidence.lives {
            let who = format!("operator {}", life.number);
            if !life.killed && !life.succeeded {
                self.broken("no silent death", &who, format!("it ended by itself: {}", life.ending));
            }
            for line in &life.strange {
                self.broken(
                    "I9",
                    &who,
                    format!("its standard output has a line that is none of the audit: {line}"),
                );
            }
            for leak in &life.leaks {
                self.broken("I10", &who, format!("it told {leak}"));
            }
        }
    }

    /// Never twice: every call has an intent of its own that was durable before and fresh, and follows a call that
    /// decided nothing.
    fn calls(&mut self, story: &Story<'_>) {
        for call in &story.calls_without_intent {
            self.broken(
                "I2",
                &story.name,
                format!("no durable intent before the call of {}", call.time),
            );
        }
        let limit = SignedDuration::from_secs(5) + self.rules.slack.unwrap_or(SignedDuration::from_secs(4));
        let mut decided: Option<String> = None;
        for attempt in &story.attempts {
            for (nth, (at, call)) in attempt.calls.iter().enumerate() {
                if let Some(before) = &decided {
                    self.broken(
                        "I1",
                        &story.name,
                        format!("a call at {} by attempt {}, though {before}", call.time, attempt.id),
                    );
                }
                if nth > 0 && attempt.calls[nth - 1].1.status != Some(401) {
                    self.broken(
                        "I2",
                        &story.name,
                        format!("attempt {} sent more than one call", attempt.id),
                    );
                }
                let age = at.duration_since(attempt.written.received);
                if age > limit {
                    self.broken(
                        "I2",
                        &story.name,
                        format!("the intent {} was {age:#} old when its call came", attempt.id),
                    );
                }
            }
            if let Some((_, last)) = attempt.calls.last()
                && !attempt.orphaned
                && let Some(verdict) = decisive(last)
            {
                decided = Some(format!("the call at {} was {verdict}", last.time));
            }
        }
    }

    /// Always final, never falsely green.
    fn end(&mut self, story: &Story<'_>) {
        let status = story.object.status.as_ref();
        if !status.is_some_and(|status| status.is_finished() && status.is_settled() && status.current_attempt.is_none())
        {
            let phase = status.and_then(|status| status.phase);
            self.broken(
                "I13",
                &story.name,
                format!("it is not finished and settled, but {phase:?}"),
            );
            return;
        }
        let effective = story.effective();
        match status.and_then(|status| status.outcome) {
            Some(Outcome::Terminated) if effective == 0 => {
                self.broken("I4", &story.name, "Terminated, and none of its calls ended anything");
            }
            Some(Outcome::Terminated) => {}
            // Nobody but the operator ends sessions here, and every object has enough time and retries.
            other => self.broken(
                "I4",
                &story.name,
                format!("its end is {other:?}, after {effective} calls that ended a session"),
            ),
        }
    }

    /// Every call was announced, and every announcement is accounted for.
    fn audit(&mut self, story: &Story<'_>) {
        for attempt in &story.attempts {
            let Some((first, _)) = attempt.calls.first() else {
                continue;
            };
            match attempt.announced {
                None => self.broken(
                    "I9",
                    &story.name,
                    format!("attempt {} called and has no line attempt_started", attempt.id),
                ),
                Some(announced) if announced > *first => self.broken(
                    "I9",
                    &story.name,
                    format!(
                        "attempt {} called at {first} and was announced at {announced}",
                        attempt.id
                    ),
                ),
                Some(_) => {}
            }
        }
        for id in &story.unresolved {
            self.broken(
                "I9",
                &story.name,
                format!("the line attempt_started of {id} has no result in any process"),
            );
        }
        if story.outcomes == 0 {
            self.broken("I9", &story.name, "there is no line outcome");
        }
    }

    /// Nothing leaves a final state.
    fn history(&mut self, story: &Story<'_>) {
        let mut end: Option<&Write> = None;
        for write in &story.writes {
            if let Some(end) = end
                && (!write.finished || write.outcome != end.outcome)
            {
                self.broken(
                    "I3",
                    &story.name,
                    format!(
                        "{:?} at {} after {:?} at {}",
                        write.outcome, write.received, end.outcome, end.received
                    ),
                );
            }
            if write.finished {
                end = Some(write);
            }
        }
    }

    /// What was sent is what was asked for.
    fn parameters(&mut self, story: &Story<'_>) {
        let spec = &story.object.spec;
        for (_, call) in story.attempts.iter().flat_map(|attempt| &attempt.calls) {
            let sent = (
                call.parameter("reason"),
                call.parameter("retainData"),
                call.parameter("externalRef"),
            );
            let retain = spec.retain_data.to_string();
            let wanted = (
                Some(spec.reason.as_str()),
                Some(retain.as_str()),
                spec.external_ref.as_deref(),
            );
            if sent != wanted {
                self.broken("I7", &story.name, format!("sent {sent:?} instead of {wanted:?}"));
            }
        }
    }

    /// Each webhook of a terminated object was accepted, with its one id and one body, and not before the end was
    /// durable.
    fn outbox(&mut self, story: &Story<'_>, calls: &mut BTreeMap<&str, Vec<&WebhookCall>>) -> anyhow::Result<()> {
        let Some(status) = &story.object.status else {
            return Ok(());
        };
        if status.outcome == Some(Outcome::Terminated) && status.webhooks.is_empty() {
            self.broken("I5", &story.name, "Terminated, and no webhook is told of it");
        }
        for webhook in &status.webhooks {
            let calls = calls.remove(webhook.message_id.as_str()).unwrap_or_default();
            let taken = calls.iter().filter(|call| call.taken && call.verified).count();
            let bodies: BTreeSet<_> = calls.iter().map(|call| &call.body).collect();
            if webhook.state != WebhookState::Delivered || taken == 0 {
                self.broken(
                    "I5",
                    &story.name,
                    format!(
                        "webhook {} is {:?} and was taken {taken} times",
                        webhook.message_id, webhook.state
                    ),
                );
            }
            if bodies.len() > 1 {
                self.broken(
                    "I5",
                    &story.name,
                    format!(
                        "webhook {} came with {} different bodies",
                        webhook.message_id,
                        bodies.len()
                    ),
                );
            }
            if let Some(refused) = calls.iter().find(|call| call.refusal.is_some()) {
                self.broken(
                    "I5",
                    &story.name,
                    format!("a webhook was refused: {:?}", refused.refusal),
                );
            }
            let first = calls.first().map(|call| instant(&call.time)).transpose()?;
            match (first, story.end_written) {
                // What was carried out and not logged may have been the end.
                _ if self.rules.server_was_killed => {}
                (Some(first), Some(durable)) if first < durable => self.broken(
                    "I6",
                    &story.name,
                    format!("its webhook came at {first}, its end was written at {durable}"),
                ),
                (Some(_), None) => self.broken("I6", &story.name, "its webhook came, and its end was never written"),
                _ => {}
            }
            self.verdict.figures.repeated_webhooks += taken.saturating_sub(1);
        }
        Ok(())
    }

    /// Nobody is called who was not asked for.
    fn strangers(&mut self, stories: &[Story<'_>]) {
        let known: BTreeSet<_> = stories
            .iter()
            .map(|story| story.object.spec.guest_id.as_str())
            .collect();
        for call in &self.evidence.ledger.calls {
            let stranger = call.guest.as_deref().is_none_or(|guest| !known.contains(guest));
            if call.operation == Operation::Other || (call.operation.is_guest_call() && stranger) {
                self.broken(
                    "I7",
                    call.guest.as_deref().unwrap_or("nobody"),
                    format!(
                        "a call that no object asks for: {} {}",
                        call.method, call.path_and_query
                    ),
                );
            }
        }
    }

    /// The vendor's allowance, over all processes.
    fn minute(&mut self) -> anyhow::Result<()> {
        let calls = self.evidence.ledger.calls.iter();
        let arrivals: Vec<u64> = calls
            .filter(|call| call.operation.is_guest_call())
            .map(|call| call.at_ms)
            .collect();
        let mut first = 0;
        for (last, at) in arrivals.iter().enumerate() {
            while arrivals[first] + 60_000 <= *at {
                first += 1;
            }
            let dense = &mut self.verdict.figures.densest_minute;
            *dense = (*dense).max(last - first + 1);
        }
        let most = u64::try_from(self.verdict.figures.densest_minute)?;
        if let Some(allowance) = self.rules.allowance.filter(|allowance| most > *allowance) {
            self.broken(
                "I8",
                "the connection",
                format!("{most} calls in 60 s, {allowance} are allowed"),
            );
        }
        Ok(())
    }

    fn count(&mut self, stories: &[Story<'_>]) {
        let figures = &mut self.verdict.figures;
        figures.objects = stories.len();
        figures.processes = self.evidence.lives.len();
        figures.killed = self.evidence.lives.iter().filter(|life| life.killed).count();
        figures.webhooks = self.evidence.ledger.webhooks.iter().filter(|call| call.taken).count();
        for story in stories {
            figures.intents += story.attempts.len();
            figures.orphans += story.attempts.iter().filter(|attempt| attempt.orphaned).count();
            let calls = || story.attempts.iter().flat_map(|attempt| &attempt.calls);
            figures.terminates += calls().count();
            figures.unclear += calls().filter(|(_, call)| decisive(call).is_none()).count();
            figures.ended += story.effective();
            figures.ended_again += story.effective().saturating_sub(1);
        }
    }
}

/// What a terminate call's answer decided, if it reached its caller and decided anything.
fn decisive(call: &Call) -> Option<&'static str> {
    if call.outcome != simulator::api::Outcome::Answered || call.caller_gone {
        return None;
    }
    match call.status {
        Some(200 | 204) => Some("answered: applied"),
        Some(404 | 410) => Some("answered: gone"),
        _ => None,
    }
}
