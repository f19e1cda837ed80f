//! An outcome is written: I4, at that moment.

use std::time::Duration;

use serde_json::Value;

use super::{
    Invariant, Oracle, Verdict,
    books::{GuestCall, Request},
    endings::write_of,
    lives::{EFFECT_LAG, is_failure},
    read::{is_true, text},
    violation,
};
use crate::{
    history::Ordinal,
    vendor::{Operation, Told},
};

/// By so much a wall clock may be off that is taken for one that did not jump.
const SLEWED: Duration = Duration::from_secs(1);

impl Oracle {
    /// I4: an attempt is said to be accepted, or to be accepted at another time, by a process that was answered 202 to a
    /// call of that very attempt.
    pub(super) fn accepted(&self, ordinal: Option<Ordinal>, by: Option<Request>, after: &Value) -> Verdict {
        let object = self.books.objects.get(text(after, &["metadata", "uid"]));
        let Some((object, by)) = object.zip(by) else {
            return Ok(());
        };
        let said = |value: &Value| {
            let field = |name| text(value, &["status", "currentAttempt", name]).to_owned();
            (field("id"), field("acceptedTime"))
        };
        let (id, time) = said(after);
        if time.is_empty() || said(&object.last) == (id.clone(), time) {
            return Ok(());
        }
        let answered = |call: &Ordinal| {
            let call = self
                .books
                .calls
                .get(call)
                .filter(|call| call.sent.process == by.process);
            call.is_some_and(|call| call.heard.is_some_and(|heard| heard.status == Some(202)))
        };
        if object
            .attempts
            .get(&id)
            .is_none_or(|attempt| !attempt.calls.iter().any(answered))
        {
            let sentence = format!(
                "{}: process {} says that attempt {id} was accepted, and was not answered so",
                write_of(ordinal),
                by.process
            );
            return Err(violation(Invariant::I4, object, sentence));
        }
        Ok(())
    }

    /// I4, when an outcome is written.
    ///
    /// A success rests on an answer that reached the writing process: of this object's own call that it was applied, or
    /// one, made after the object was created, that showed the session gone while it was gone, through the host of the
    /// pinned connection and not before that connection was there. `not.found` shows that only where a guest had been
    /// shown through the connection before, the object had an attempt, or the user's `trust: Always` says so.
    ///
    /// A failure without doubt: no call of this object ended any life. With doubt: the last look of the writing process
    /// saw a life active that no call of this object has ended, and was asked for at least 60 s after the last call. No
    /// clock excuses it, be it one that jumped or another process's: the process that looks counts the 60 s.
    pub(super) fn claims(&self, ordinal: Option<Ordinal>, by: Option<Request>, after: &Value) -> Verdict {
        let Some(object) = self.books.objects.get(text(after, &["metadata", "uid"])) else {
            return Ok(());
        };
        let (Some(by), None, true) = (by, &object.end, is_true(after, &["status", "finished"])) else {
            return Ok(());
        };
        let fail = |sentence: String| {
            Err(violation(
                Invariant::I4,
                object,
                format!("{}: {sentence}", write_of(ordinal)),
            ))
        };
        let outcome = text(after, &["status", "outcome"]);
        if !object.told.contains(&(by.process, outcome.to_owned())) {
            let sentence = format!("{}: {outcome} is written without its audit line", write_of(ordinal));
            return Err(violation(Invariant::I9, object, sentence));
        }
        if outcome == "DeadlineExceeded" {
            self.overdue(ordinal, by, object, after)?;
        }
        let doubt = object.may_have_applied
            || object.current_attempt.is_some()
            || is_true(after, &["status", "mayHaveApplied"]);
        let host = text(after, &["status", "connection", "host"]);
        let key = (by.process, host.to_owned(), object.guest.clone());
        let heard = self.books.heard.get(&key).map(Vec::as_slice).unwrap_or_default();
        let heard: Vec<(Ordinal, &GuestCall)> = heard
            .iter()
            .filter_map(|ordinal| Some((*ordinal, self.books.calls.get(ordinal)?)))
            .collect();
        match outcome {
            "Terminated" | "AlreadyTerminated" => {
                let by_response = text(after, &["status", "audit", "confirmedBy"]) == "Response";
                let connection = text(after, &["status", "connection", "uid"]);
                let connection = self.books.connections.get(connection);
                let since = connection.map_or(Duration::ZERO, |one| one.created);
                let believes = connection.is_some_and(super::connections::Connection::believes_not_found);
                let shows = |call: &GuestCall| {
                    let own_call = call
                        .owner
                        .as_ref()
                        .is_some_and(|(uid, id)| *uid == object.uid && id.is_some());
                    let Some((heard, taken)) = call.heard.zip(call.taken) else {
                        return false;
                    };
                    let recent = call.sent.at >= object.created && call.sent.at >= since;
                    match heard.told {
                        Told::Applied => own_call && outcome == "Terminated",
                        _ if by_response || !recent => false,
                        _ if call.operation == Operation::Terminate && !own_call => false,
                        Told::NotFound if !heard.tried && !believes => false,
                        _ => heard.gone() && !taken.active,
                    }
                };
                // What stands still may believe an answer that its own timeout has overtaken, or one that came by a connection
                // that was made anew meanwhile.
                if !self.facts.processes_freeze && !heard.iter().any(|(_, call)| shows(call)) {
                    let sentence = format!(
                        "{outcome} is written by process {}, and no answer that it heard through {host:?} shows it",
                        by.process
                    );
                    return fail(sentence);
                }
                let own = object.lives.last();
                if let (Some((life, _, call)), "AlreadyTerminated") = (own, outcome) {
                    return fail(format!(
                        "it says that nothing of it ended the session, and #{call} ended life {life}"
                    ));
                }
                if outcome == "Terminated" && object.attempts.is_empty() {
                    return fail("it says Terminated, and it never had an attempt".to_owned());
                }
            }
            "Unconfirmed" if !doubt => return fail("it says Unconfirmed, and there was no doubt".to_owned()),
            _ if is_failure(outcome) => {
                if !doubt {
                    return match object.lives.last() {
                        Some((life, _, call)) => fail(format!(
                            "it says {outcome} without doubt, and #{call} ended life {life}"
                        )),
                        None => Ok(()),
                    };
                }
                let mut looks = heard.iter().rev().filter(|(_, call)| {
                    let others = call.owner.as_ref().is_some_and(|(uid, _)| *uid != object.uid);
                    // One that was answered 401, and could not be repeated, told nothing.
                    let told = call.heard.is_none_or(|heard| heard.told != Told::Unauthorized);
                    call.operation == Operation::Observe && call.sent.at >= object.created && !others && told
                });
                let active = |call: &GuestCall| call.heard.is_some_and(|heard| heard.told == Told::Active);
                // Of several objects about one guest, nobody knows whose look it was.
                let look = looks.find(|(_, call)| call.owner.is_some() || active(call));
                let Some((look, call)) = look else {
                    return fail(format!(
                        "it says {outcome} with a call in doubt, and process {} never looked",
                        by.process
                    ));
                };
                if !active(call) {
                    return fail(format!(
                        "it says {outcome} with a call in doubt, and the last look #{look} did not say active"
                    ));
                }
                // What stands still may send long after its intent was written.
                let counts = |own: &GuestCall| own.sent.process == by.process || !self.facts.processes_freeze;
                let lag = EFFECT_LAG.saturating_sub(SLEWED);
                // A call of this process after its look is one whose answer left no doubt: with doubt, it looks again.
                let after = |own: &GuestCall| own.sent.process == by.process && call.sent.at < own.sent.at;
                let close = |own: &GuestCall| call.sent.at < own.sent.at + lag && !after(own);
                let mut own = object.calls.iter();
                let own = own.find(|own| self.books.calls.get(own).is_some_and(|own| counts(own) && close(own)));
                if let Some(own) = own {
                    return fail(format!(
                        "it says {outcome} with a call in doubt, and the last look #{look} came too soon after #{own}"
                    ));
                }
                let life = call.taken.and_then(|taken| taken.life);
                let ended = object.lives.iter().find(|(ended, ..)| Some(*ended) == life);
                if let Some((life, _, own)) = ended {
                    return fail(format!(
                        "it says {outcome}; #{look} saw life {life} active, and #{own} ended it"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
