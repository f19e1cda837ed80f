//! The oracle: every invariant, judged after every record of a run.
//!
//! It goes by what left a process, what was stored, and what the models did and meant; never by what the operator says
//! of itself, except to hold the operator to its word. It knows the truth that the operator cannot know: which life of a
//! guest a call met, and whether it ended it.
//!
//! # Whose call it is
//!
//! A terminate call carries no uid. It is the object's whose `attempt_started` line the same process wrote last for that
//! guest and host: one flight at a time is made for a guest, and the line comes right before the call. A look belongs to
//! the guest; where one object alone is about the guest, it is that object's.
//!
//! # What is tolerated, and why
//!
//! Stated at each check. The common reasons: a process cannot know what another one wrote a moment ago (its own intent,
//! young enough for the fence, may still send); a clock that jumps moves what goes by that clock; a request that the
//! network holds up arrives when its sender has long given it up.

mod books;
mod budget;
mod claims;
mod connections;
mod departures;
mod endings;
mod facts;
mod finale;
mod limits;
mod lives;
mod read;
mod silence;
#[cfg(test)]
mod tests;
mod webhooks;

use std::{fmt, time::Duration};

use crate::{
    history::{Record, Server, What},
    vendor::CANARY,
};
use books::Books;
pub use facts::{Facts, Fairness};

/// An invariant: see `docs/reliability.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Invariant {
    /// Never twice: (a) no call that nothing asks for.
    I1a,
    /// (b) No call after the end is known.
    I1b,
    /// (c) No second life is ended without doubt about the first.
    I1c,
    /// No termination without a durable intent, after `notAfter`, or past the deadline.
    I2,
    /// Nothing leaves a terminal phase.
    I3,
    /// What an outcome says is true.
    I4,
    /// Webhooks are delivered, with one id and one body.
    I5,
    /// No webhook before its end is durable.
    I6,
    /// Parameters are the spec's.
    I7,
    /// The vendor's limit holds.
    I8,
    /// Calls and audit lines match.
    I9,
    /// No secret anywhere.
    I10,
    /// Namespaces share fairly.
    I11,
    /// What is bounded stays within its bounds.
    I12,
    /// After the faults everything finishes, and then there is silence.
    I13,
    /// No waiting state outlives its cause.
    I14,
}

/// An invariant does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{invariant:?} of {object}: {sentence}")]
pub struct Violation {
    invariant: Invariant,
    /// `namespace/name (uid)`, or a connection's host, or a process.
    object: String,
    /// `#n` is the request of that ordinal.
    sentence: String,
}

impl Violation {
    /// Which invariant.
    pub fn invariant(&self) -> Invariant {
        self.invariant
    }
}

/// What a check says.
type Verdict = Result<(), Violation>;

fn violation(invariant: Invariant, object: impl fmt::Display, sentence: String) -> Violation {
    Violation {
        invariant,
        object: object.to_string(),
        sentence,
    }
}

/// Judges a run.
#[derive(Clone, Debug)]
pub struct Oracle {
    facts: Facts,
    books: Books,
}

impl Oracle {
    /// An oracle for a run of which these facts hold.
    pub fn new(facts: Facts) -> Self {
        Self {
            facts,
            books: Books::default(),
        }
    }

    /// Takes the next record in.
    ///
    /// # Errors
    /// The first invariant that it violates.
    pub fn see(&mut self, record: &Record) -> Verdict {
        let at = record.at;
        match &record.what {
            What::Started { process, .. } => {
                self.books.started(*process, at);
                Ok(())
            }
            What::Killed { process } => {
                self.books.ended(*process, at);
                Ok(())
            }
            What::Ended { process, error } => self.ended(*process, error.as_deref(), at),
            What::Stopping { process } => {
                self.books.stopping(*process, at);
                Ok(())
            }
            What::World(_) => Ok(()),
            What::Asked {
                ordinal,
                process,
                server,
                line,
                body,
                wall,
            } => {
                let request = books::Request {
                    process: *process,
                    at,
                    wall: *wall,
                };
                no_canary("a request's line", line.as_bytes(), *process)?;
                match server {
                    Server::Cluster => {
                        no_canary("a request to the API server", body, *process)?;
                        self.write_departs(*ordinal, request, line)
                    }
                    Server::Vendor => self.vendor_departs(*ordinal, request, line),
                    Server::Receiver => {
                        no_canary("a webhook's body", body, *process)?;
                        self.webhook_departs(*ordinal, request, line, body)
                    }
                }
            }
            What::Stored { ordinal, before, after } => self.stored(at, *ordinal, before.as_deref(), after.as_ref()),
            What::Vendor { ordinal, call } => {
                self.books.taken(*ordinal, call);
                Ok(())
            }
            What::Token { .. } => Ok(()),
            What::Life(life) => self.life(at, life),
            What::Webhook { ordinal, delivery } => self.delivered(*ordinal, delivery),
            What::Answered {
                ordinal,
                status,
                intact,
            } => {
                self.answered(at, *ordinal, *status, *intact);
                Ok(())
            }
            What::Audit { process, line } => {
                if read::holds(line, CANARY) {
                    return Err(leak("an audit line", format!("process {process}")));
                }
                self.audit(*process, line)
            }
            What::Log { text } if read::contains(text.as_bytes(), CANARY) => Err(leak("the log", "a process")),
            What::Log { text } => {
                // A new lead looks at everything anew, and says so in an Event. When one is due is the election's to say:
                // a slow answer is enough.
                if text.contains(" leading term=") {
                    self.books.stir(at);
                }
                Ok(())
            }
            What::Calm => {
                self.books.calm.get_or_insert(at);
                self.books.stir(at);
                Ok(())
            }
        }
    }

    /// Judges the run as a whole, at its end.
    ///
    /// # Errors
    /// The first invariant that does not hold.
    pub fn finish(&mut self, at: Duration) -> Verdict {
        self.finale(at)
    }
}

/// I10. Every secret, token and text of a body of the models holds the canary.
fn no_canary(place: &str, bytes: &[u8], process: crate::history::Process) -> Verdict {
    if read::contains(bytes, CANARY) {
        return Err(leak(place, format!("process {process}")));
    }
    Ok(())
}

fn leak(place: &str, whose: impl fmt::Display) -> Violation {
    let sentence = format!("{place} holds a secret, a token or a text of the vendor's or a receiver's body");
    violation(Invariant::I10, whose, sentence)
}
