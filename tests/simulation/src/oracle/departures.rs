//! A guest call leaves a process: I1 (a) and (b), I2, I7, I9.

use std::time::Duration;

use serde_json::Value;

use super::{
    Invariant, Oracle, Verdict,
    books::{Attempt, GuestCall, Heard, Object, Request},
    budget::Spends,
    read::{self, GuestLine, text},
    violation,
};
use crate::{
    history::{Ordinal, Process},
    vendor::{Operation, Told},
};

/// A call leaves this long after the write of its intent began, or not at all.
const SEND_WINDOW: Duration = Duration::from_secs(5);
/// A 202 is waited for so long, by a clock that may be slewed.
const ACCEPTED_PATIENCE: Duration = Duration::from_secs(119);

/// A token request that was not answered by then is given up.
const RENEWAL: Duration = Duration::from_secs(11);
/// For so long after a change of a connection or a Secret, what belongs to the old one may be on its way.
const RECONFIGURED: Duration = Duration::from_secs(60);
/// What stands still for so long reads of the change when it goes on.
const LONGEST_FREEZE: Duration = Duration::from_secs(120);

impl Oracle {
    pub(super) fn vendor_departs(&mut self, ordinal: Ordinal, sent: Request, line: &str) -> Verdict {
        self.silent(ordinal, sent, line)?;
        let Some(call) = read::guest_line(line) else {
            return self.renews(ordinal, sent, line);
        };
        self.within_limits(ordinal, sent, &call)?;
        self.remembers_pauses(ordinal, sent, &call.host)?;
        let owner = match call.operation {
            Operation::Observe => self
                .books
                .sole_owner(&call.guest, sent.at)
                .map(|uid| (uid.to_owned(), None)),
            Operation::Terminate => {
                let (uid, attempt) = self.terminate_departs(ordinal, sent, &call)?;
                Some((uid, Some(attempt)))
            }
        };
        let note = GuestCall {
            sent,
            operation: call.operation,
            host: call.host,
            guest: call.guest,
            owner,
            taken: None,
            heard: None,
            spends: Spends::No,
        };
        self.books.calls.insert(ordinal, note);
        Ok(())
    }

    /// A request leaves for the vendor that is about no guest: for a token, or it leads astray (I7).
    ///
    /// I12: one renewal at a time of a process and a host, for any number of passes that wait for it. Tolerated: somebody
    /// changed the connection or a Secret a moment ago, and what belongs to the old one is on its way.
    fn renews(&mut self, ordinal: Ordinal, sent: Request, line: &str) -> Verdict {
        let uri = line.strip_prefix("POST ").filter(|uri| uri.ends_with("/oauth/token"));
        let Some(uri) = uri else {
            let sentence = format!("#{ordinal} ({line}) leads to no guest");
            return Err(violation(Invariant::I7, format!("process {}", sent.process), sentence));
        };
        let host = read::host_of(uri);
        let renewals = &mut self.books.renewals;
        renewals.retain(|_, (process, to, at)| (*process, &*to) != (sent.process, &host) || sent.at < *at + RENEWAL);
        let other = renewals
            .iter()
            .find(|(_, (process, to, _))| (*process, to) == (sent.process, &host));
        let unread = if self.facts.processes_freeze {
            LONGEST_FREEZE
        } else {
            Duration::ZERO
        };
        let lately = self
            .books
            .reconfigured
            .is_some_and(|at| sent.at <= at + RECONFIGURED + unread);
        if let Some((other, _)) = other.filter(|_| !lately) {
            let sentence = format!("#{ordinal} asks for a token while #{other} of the same process is on its way");
            return Err(violation(Invariant::I12, host, sentence));
        }
        renewals.insert(ordinal, (sent.process, host, sent.at));
        Ok(())
    }

    /// Judges a termination at its departure, and says whose it is.
    fn terminate_departs(
        &mut self,
        ordinal: Ordinal,
        sent: Request,
        call: &GuestLine,
    ) -> Result<(String, String), super::Violation> {
        let key = (sent.process, call.host.clone(), call.guest.clone());
        let announced = self.books.announced.get(&key);
        let found = announced.and_then(|(uid, id)| {
            let object = self.books.objects.get(uid)?;
            Some((object, id, object.attempts.get(id)?))
        });
        let Some((object, id, attempt)) = found else {
            let sentence = format!(
                "#{ordinal}: process {} sent a termination of {} without an attempt_started line for it",
                sent.process, call.guest
            );
            return Err(violation(Invariant::I9, &call.host, sentence));
        };
        self.asked_for(ordinal, sent, object, id)?;
        fenced(ordinal, sent, object, id, attempt)?;
        as_specified(ordinal, object, call)?;
        let (uid, id) = (object.uid.clone(), id.clone());
        if let Some(object) = self.books.objects.get_mut(&uid) {
            object.calls.push(ordinal);
            if let Some(attempt) = object.attempts.get_mut(&id) {
                attempt.calls.push(ordinal);
            }
        }
        Ok((uid, id))
    }

    /// I1 (a) and (b).
    ///
    /// (a) Every earlier call of the object must ask for this one: it was answered in a way that leaves something to do,
    /// or its sender gave it up (that none is sent while another is on its way is I12's), died, or lost the object to
    /// this process. The one repeat under the same intent follows a 401.
    ///
    /// (b) None after an answer that said *applied* or *gone* reached this process, or stands in the status.
    ///
    /// Tolerated: another process heard *applied* or *gone* and could not write it down (it was killed or cut off); and it
    /// finished the object while this process's own intent, durable before that and younger than the fence's 5 s, was on
    /// its way out: this process cannot have known.
    fn asked_for(&self, ordinal: Ordinal, sent: Request, object: &Object, id: &str) -> Verdict {
        let fail = |invariant, sentence| Err(violation(invariant, object, sentence));
        let me = sent.process;
        // Another process's end is younger than the intent, whose age the fence is judged by: it came within 5 s.
        if let Some(end) = object
            .end
            .as_ref()
            .filter(|end| end.by.is_none_or(|by| by.process == me))
        {
            let sentence = format!("#{ordinal} is sent though the status says {}", end.outcome);
            return fail(Invariant::I1b, sentence);
        }
        for before in &object.calls {
            let Some(call) = self.books.calls.get(before) else {
                continue;
            };
            let mine = call.sent.process == me;
            let same_intent = call
                .owner
                .as_ref()
                .is_some_and(|(_, attempt)| attempt.as_deref() == Some(id));
            match call.heard {
                Some(Heard { status: Some(401), .. }) if same_intent => {}
                _ if same_intent => {
                    let sentence =
                        format!("#{ordinal} is sent under the same intent as #{before}, which was not answered 401");
                    return fail(Invariant::I1a, sentence);
                }
                Some(heard) if mine && (heard.told == Told::Applied || heard.gone()) => {
                    let sentence = format!("#{ordinal} is sent though #{before} was answered {:?}", heard.told);
                    return fail(Invariant::I1b, sentence);
                }
                Some(heard) if mine && heard.told == Told::Accepted && self.is_early(sent, call, heard) => {
                    let sentence = format!(
                        "#{ordinal} is sent {:?} after #{before} was accepted",
                        sent.at - heard.at
                    );
                    return fail(Invariant::I1a, sentence);
                }
                Some(heard) if mine && heard.told == Told::Refused => {
                    let sentence = format!("#{ordinal} is sent though #{before} was refused for good");
                    return fail(Invariant::I1a, sentence);
                }
                _ => {}
            }
        }
        let repeats = object.attempts.get(id).map_or(0, |attempt| attempt.calls.len());
        if repeats > 1 {
            return fail(Invariant::I1a, format!("#{ordinal} is the third call under one intent"));
        }
        let key = (me, self.host_of(object), object.guest.clone());
        for look in self.books.heard.get(&key).into_iter().flatten() {
            let Some(call) = self.books.calls.get(look) else {
                continue;
            };
            let own = call.owner.as_ref().is_some_and(|(uid, _)| *uid == object.uid);
            let gone = call.heard.is_some_and(|heard| heard.surely_gone());
            if call.operation == Operation::Observe && own && gone && call.sent.at >= object.created {
                let sentence =
                    format!("#{ordinal} is sent though the look #{look} of the same process said that it is over");
                return fail(Invariant::I1b, sentence);
            }
        }
        Ok(())
    }

    /// Less than the 120 s that a 202 is waited for, and it was this process that took the intent back.
    fn is_early(&self, sent: Request, call: &GuestCall, heard: Heard) -> bool {
        let taken_back = call.owner.as_ref().and_then(|(uid, id)| {
            let attempt = self.books.objects.get(uid)?.attempts.get(id.as_ref()?)?;
            attempt.cleared?.1
        });
        let passed = sent.at.saturating_sub(heard.at);
        taken_back == Some(sent.process) && passed < ACCEPTED_PATIENCE
    }

    pub(super) fn host_of(&self, object: &Object) -> String {
        object.pinned.as_ref().map(|(host, _)| host.clone()).unwrap_or_default()
    }

    /// Takes an audit line in: I9, as far as a line can break it.
    pub(super) fn audit(&mut self, process: Process, line: &Value) -> Verdict {
        let (uid, id) = (text(line, &["uid"]), text(line, &["attempt_id"]));
        let Some(object) = self.books.objects.get_mut(uid) else {
            let sentence = format!("process {process} wrote an audit line of an object that never was");
            return Err(violation(Invariant::I9, uid, sentence));
        };
        match text(line, &["kind"]) {
            "attempt_started" => {
                let name = object.to_string();
                let host = object.pinned.as_ref().map(|(host, _)| host.clone()).unwrap_or_default();
                let Some(attempt) = object.attempts.get_mut(id) else {
                    let sentence = format!("process {process} announced attempt {id}, which is not in the status");
                    return Err(violation(Invariant::I9, name, sentence));
                };
                attempt.announced.get_or_insert(process);
                let key = (process, host, object.guest.clone());
                self.books.announced.insert(key, (uid.to_owned(), id.to_owned()));
            }
            "attempt_result" => {
                let result = text(line, &["result"]);
                let name = object.to_string();
                // An attempt that was never stored has no result: its line would be the first that anybody hears of it.
                let Some(attempt) = object.attempts.get_mut(id) else {
                    let sentence = format!("process {process} told a result of attempt {id}, which never was");
                    return Err(violation(Invariant::I9, name, sentence));
                };
                if result == "NotSent" && !attempt.calls.is_empty() {
                    let sentence = format!(
                        "process {process} told that attempt {id} was not sent, and #{} is its call",
                        attempt.calls[0]
                    );
                    return Err(violation(Invariant::I9, name, sentence));
                }
                let own = |call: &&Ordinal| {
                    let call = self.books.calls.get(call);
                    call.is_some_and(|call| call.sent.process == process)
                };
                let last = attempt.calls.iter().rev().find(own);
                let heard = last.and_then(|call| self.books.calls.get(call)?.heard);
                if let Some(heard) = heard.filter(|heard| is_denied(heard.told, result)) {
                    let told = heard.told;
                    let sentence = format!("process {process} told {result} of attempt {id}, and heard {told:?}");
                    return Err(violation(Invariant::I9, name, sentence));
                }
                attempt.results.insert(result.to_owned());
            }
            "outcome" => {
                object.told.insert((process, text(line, &["outcome"]).to_owned()));
            }
            _ => {}
        }
        Ok(())
    }
}

/// I9: whether a result denies the answer that its own process heard. That a call applied is told as that and as nothing
/// else, also after the status says it; and no attempt is told to be abandoned whose answer came.
fn is_denied(told: Told, result: &str) -> bool {
    match told {
        Told::Nothing => false,
        Told::Applied => result != "Applied",
        _ => result == "Abandoned",
    }
}

/// I2, at the moment of sending and by the sender's own clock.
///
/// Judged by the versions of the object from the one that holds the intent on: an edit that the sender need not have heard
/// of yet forbids nothing, and one that it may have heard of may allow. Whether the status was finished is I1 (b)'s.
fn fenced(ordinal: Ordinal, sent: Request, object: &Object, id: &str, attempt: &Attempt) -> Verdict {
    let fail = |sentence: String| Err(violation(Invariant::I2, object, format!("#{ordinal}: {sentence}")));
    let Some(written) = attempt.written.filter(|written| written.process == sent.process) else {
        return fail(format!(
            "process {} sends under attempt {id}, which it did not write",
            sent.process
        ));
    };
    if attempt.durable.is_none() {
        return fail(format!("the write of attempt {id} was never answered with success"));
    }
    let monotonic = sent.at.saturating_sub(written.at);
    let wall = sent.wall.duration_since(written.wall);
    if monotonic >= SEND_WINDOW || wall.as_millis() >= 5_000 {
        return fail(format!(
            "it is sent {monotonic:?} ({wall:?} by the wall clock) after attempt {id} was begun"
        ));
    }
    if let Some((_, Some(process))) = attempt.cleared
        && process == sent.process
    {
        return fail(format!("process {process} itself had taken attempt {id} back"));
    }
    if object.not_after.is_some_and(|limit| sent.wall > limit) {
        return fail("it is sent after spec.notAfter".to_owned());
    }
    let known = object.versions.get(attempt.version..).unwrap_or_default();
    if !known.is_empty() && known.iter().all(|version| version.suspend) {
        return fail("it is sent though spec.suspend is true".to_owned());
    }
    if !known
        .iter()
        .any(|version| version.deadline.is_none_or(|limit| sent.wall < limit))
    {
        return fail("it is sent past the deadline".to_owned());
    }
    Ok(())
}

/// I7.
fn as_specified(ordinal: Ordinal, object: &Object, call: &GuestLine) -> Verdict {
    let sent: Vec<(&str, &str)> = call
        .parameters
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let wanted: Vec<(&str, &str)> = object
        .parameters
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    if sent != wanted || call.guest != object.guest {
        let sentence = format!(
            "#{ordinal} says {} {sent:?}, and the spec {} {wanted:?}",
            call.guest, object.guest
        );
        return Err(violation(Invariant::I7, object, sentence));
    }
    Ok(())
}
