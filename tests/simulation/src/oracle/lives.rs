//! Lives of guests end, and answers arrive: I1 (c), and I4 as far as it is about what comes later.

use std::time::Duration;

use super::{
    Invariant, Oracle, Verdict,
    books::{GuestCall, Heard, Object, Pause},
    budget::Spends,
    violation,
};
use crate::{
    history::{Ordinal, Process},
    vendor::{Change, Effect, Life, Operation, Told},
};

/// How long an effect may lag.
pub(super) const EFFECT_LAG: Duration = Duration::from_secs(60);
/// A call that was not answered by then is given up by its sender.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// A process that is asked to stop waits so long for what is on its way.
const DRAIN: Duration = Duration::from_secs(20);
/// So long may pass between what a pass goes by and its look: a Secret is looked at, and a token is asked for.
const BEFORE_A_LOOK: Duration = Duration::from_secs(30);
/// No pause that is asked for is longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(48 * 3600);

impl Oracle {
    /// A life began or ended.
    ///
    /// I1 (c): a second life is ended by the same object only after an *unknown* answer: to one of its other calls, or to
    /// this very one, whose sender had given it up. What only a process knew that died with it is not known.
    ///
    /// I4, afterwards: an object that is said to have failed, without doubt or after a look that saw this life active,
    /// does not end it. Tolerated: the call left more than 60 s before; its effect lagged longer, or the network held it
    /// up longer, than the last look can wait for.
    pub(super) fn life(&mut self, at: Duration, life: &Life) -> Verdict {
        self.books.stir(at);
        let Change::Ends(Some(ordinal)) = life.change else {
            return Ok(());
        };
        let Some(call) = self.books.calls.get(&ordinal) else {
            return Ok(());
        };
        // An effect on the spot comes before the call is noted, one that lags at the time that was noted. Another one is of
        // a request that the network delivered twice, which nobody can help.
        let own = call.taken.is_none_or(|taken| taken.effect == Effect::Later(life.at));
        let Some((uid, _)) = call.owner.clone().filter(|_| own) else {
            return Ok(());
        };
        let sent = call.sent;
        let Some(object) = self.books.objects.get(&uid) else {
            return Ok(());
        };
        if let Some((first, _, by)) = object.lives.iter().find(|(before, ..)| *before != life.life) {
            let given_up = life.at >= sent.at + CALL_TIMEOUT || !self.books.is_alive(sent.process);
            let others = object.calls.iter().filter(|other| **other != ordinal);
            let doubt = given_up
                || others
                    .into_iter()
                    .any(|other| !self.is_certain(object, *other, sent.process));
            if !doubt {
                let sentence = format!(
                    "#{by} ended life {first} of {} and #{ordinal} ended life {}, and no answer had left any doubt",
                    life.guest, life.life
                );
                return Err(violation(Invariant::I1c, object, sentence));
            }
        }
        if let Some(end) = &object.end
            && is_failure(&end.outcome)
            && life.at <= sent.at + EFFECT_LAG
        {
            let sentence = format!(
                "it is said to be {}, and then #{ordinal} ended life {}",
                end.outcome, life.life
            );
            return Err(violation(Invariant::I4, object, sentence));
        }
        if let Some(object) = self.books.objects.get_mut(&uid) {
            object.lives.push((life.life, life.at, ordinal));
        }
        Ok(())
    }

    /// What became of a call is known to that process, or in the status by the word of the one that heard it.
    fn is_certain(&self, object: &Object, call: Ordinal, to: Process) -> bool {
        let Some(call) = self.books.calls.get(&call) else {
            return false;
        };
        let attempt = call
            .owner
            .as_ref()
            .and_then(|(_, id)| object.attempts.get(id.as_ref()?));
        let written = attempt.and_then(|attempt| attempt.cleared?.1) == Some(call.sent.process);
        call.heard.is_some_and(proves) && (written || call.sent.process == to)
    }

    /// A process ended by itself: as it was asked to, with nothing of its own on its way (I9), or it should not have (I13).
    pub(super) fn ended(&mut self, process: Process, error: Option<&str>, at: Duration) -> Verdict {
        let whose = format!("process {process}");
        if let Some(error) = error {
            let sentence = format!("it ended though nobody asked it to: {error}");
            return Err(violation(Invariant::I13, whose, sentence));
        }
        let stopping = self.books.processes.get(&process).and_then(|life| life.stopping);
        if stopping.is_some_and(|stopping| at < stopping + DRAIN) {
            let on_its_way = |call: &GuestCall| {
                call.sent.process == process && call.heard.is_none() && at < call.sent.at + CALL_TIMEOUT
            };
            let call = self.books.calls.iter().find(|(_, call)| on_its_way(call));
            if let Some((ordinal, _)) = call {
                let sentence = format!("it stopped with #{ordinal} on its way, and time to wait for it");
                return Err(violation(Invariant::I9, whose, sentence));
            }
        }
        self.books.ended(process, at);
        Ok(())
    }

    /// An answer reached a process.
    pub(super) fn answered(&mut self, at: Duration, ordinal: Ordinal, status: Option<u16>, intact: bool) {
        if let Some((uid, id)) = self.books.intents.remove(&ordinal) {
            let attempt = self
                .books
                .objects
                .get_mut(&uid)
                .and_then(|object| object.attempts.get_mut(&id));
            if let Some(attempt) = attempt.filter(|_| intact && status.is_some_and(|status| status / 100 == 2)) {
                attempt.durable = Some(at);
            }
            return;
        }
        if let Some(webhook) = self.books.webhooks.get_mut(&ordinal) {
            webhook.heard = status;
            return;
        }
        self.books.renewals.remove(&ordinal);
        let Some(call) = self.books.calls.get(&ordinal) else {
            return;
        };
        let told = match (intact, call.taken) {
            (true, Some(taken)) => taken.told,
            _ => Told::Nothing,
        };
        let object = call.owner.as_ref().and_then(|(uid, _)| self.books.objects.get(uid));
        let tried = object.is_some_and(|object| !object.attempts.is_empty());
        let heard = Heard {
            at,
            told,
            status,
            proven: tried || self.books.connections.is_proven(&call.host),
            tried,
            known: self.knows_the_route(call),
        };
        let key = (call.sent.process, call.host.clone(), call.guest.clone());
        let left = call.sent.at;
        if let Some(flights) = self.books.flights.get_mut(&(key.0, key.1.clone())) {
            flights.remove(&ordinal);
        }
        let read = told == Told::Active || told == Told::Unclear || (told == Told::Over && status == Some(200));
        if call.operation == Operation::Observe && read {
            self.books.connections.prove(left, &call.host);
            self.books.shown.entry((key.0, key.1.clone())).or_insert(at);
        }
        if let Some(pause) = call
            .taken
            .filter(|_| told == Told::Throttled)
            .and_then(|taken| taken.retry_after)
        {
            let until = at + pause.min(LONGEST_PAUSE);
            let pauses = self.books.pauses.entry((key.0, key.1.clone())).or_default();
            pauses.retain(|pause| pause.until > at);
            pauses.push(Pause {
                heard: at,
                until,
                answer: ordinal,
            });
        }
        if let Some(allowed) = call.taken.filter(|_| intact).and_then(|taken| taken.allowed) {
            self.books.connections.told(at, &key.1, allowed);
        }
        let (process, host, _) = key.clone();
        let operation = call.operation;
        let all_answered = !self.books.calls.iter().any(|(other, call)| {
            *other != ordinal && call.sent.process == process && call.operation == operation && call.heard.is_none()
        });
        let replaced = self.books.connections.replaced(&host);
        let row = self.books.rows.entry((process, host.clone(), operation)).or_default();
        let spends = row.hear(&heard, operation, all_answered, left, replaced);
        if row.is_decided(at) {
            // What arrives at the same instant is read in any order: those failures may have come after this success.
            let with_it = |call: &&mut GuestCall| {
                (call.sent.process, &call.host, call.operation) == (process, &host, operation)
                    && call.heard.is_some_and(|heard| heard.at == at && heard.told.fails())
            };
            let failures = self.books.calls.values_mut().filter(with_it);
            failures.for_each(|call| call.spends = Spends::Maybe);
        }
        self.books.heard.entry(key).or_default().push(ordinal);
        if let Some(call) = self.books.calls.get_mut(&ordinal) {
            call.heard = Some(heard);
            call.spends = spends;
        }
    }

    /// Whether a process cannot but know that a 404 to this look means that the session is gone: one connection alone leads
    /// there, and the user vouches for it, or it showed this process a guest some time before the look left. A lead that
    /// begins anew knows what the connection's status says, and no more.
    fn knows_the_route(&self, call: &GuestCall) -> bool {
        let connections = &self.books.connections;
        let shown = self.books.shown.get(&(call.sent.process, call.host.clone()));
        let shown = shown.is_some_and(|shown| *shown + BEFORE_A_LOOK < call.sent.at);
        let knows = (shown && !self.facts.leads_change) || connections.is_trusted(&call.host);
        knows && connections.is_only_one(&call.host)
    }
}

/// What was heard proves what became of the call.
fn proves(heard: Heard) -> bool {
    matches!(
        heard.told,
        Told::Applied | Told::Refused | Told::Unauthorized | Told::Forbidden | Told::Throttled
    )
}

/// An outcome that says that this object ended nothing.
pub(super) fn is_failure(outcome: &str) -> bool {
    matches!(
        outcome,
        "Rejected" | "RetriesExhausted" | "DeadlineExceeded" | "Expired"
    )
}
