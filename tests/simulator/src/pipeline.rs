//! The way of a call: written down, disturbed, served, answered.

use std::future::pending;
use std::time::Duration;

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderValue, StatusCode};
use rand::RngExt as _;

use crate::answer::Answer;
use crate::api::{FaultAction, FaultSpec, Operation, Outcome};
use crate::book::{Arrival, Ending};
use crate::call::Incoming;
use crate::controls::Controls;
use crate::line::Line;
use crate::receiver;
use crate::vendor::RateWindow;

const MAX_BODY: usize = 1 << 20;

/// What goes back to the caller.
enum Verdict {
    Answer(Answer),
    Reset,
    Hang,
}

/// A call that was written down.
struct Ticket {
    sequence: u64,
    /// The vendor's id of this request.
    correlation_id: String,
    rate: Option<RateWindow>,
    /// What disturbs it.
    fault: FaultSpec,
}

/// Answers everything that is not the control API.
pub(crate) async fn answer(
    State(controls): State<Controls>,
    Extension(line): Extension<Line>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    // A caller that breaks off while it sends has asked for nothing.
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let call = Incoming::new(parts, body);
    let ticket = controls.register(&call);
    let mut presence = Presence::of(&controls, &call, &ticket);
    // A task of its own: a caller that goes away does not take back what it has caused.
    let verdict = tokio::spawn(async move {
        let stopping = controls.stopping().clone();
        stopping.run_until_cancelled(controls.treat(call, ticket)).await
    });
    match verdict.await {
        Ok(Some(Verdict::Answer(answer))) => {
            presence.answered();
            answer.into_response()
        }
        Ok(Some(Verdict::Reset)) => {
            presence.answered();
            line.reset();
            pending().await
        }
        // Also when the simulator stops: its connections are about to close.
        Ok(Some(Verdict::Hang) | None) => pending().await,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Controls {
    /// Writes the call down and finds out what will disturb it.
    fn register(&self, call: &Incoming) -> Ticket {
        let mut state = self.state();
        // The time is taken under the lock, so that the ledger's times never fall.
        let now = self.now();
        let settings = state.settings.clone();
        let token = call.bearer().filter(|_| call.operation.is_guest_call());
        let token = token.and_then(|bearer| state.tokens.get_mut(bearer));
        let (shown, rate) = match token {
            Some(token) => (
                Some((token.id.clone(), token.client.clone())),
                token.count(&settings, now.instant),
            ),
            None => (None, None),
        };
        let outage = state.outage_of(call.operation);
        let is_outage = outage.is_some();
        let (id, fault) = match outage {
            Some(outage) => (None, outage),
            None => {
                let state = &mut *state;
                state
                    .faults
                    .pick(call, &mut state.random)
                    .map(|(id, fault)| (Some(id), fault))
                    .unwrap_or_default()
            }
        };
        let correlation_id = format!("{:032x}", state.random.random::<u128>());
        let arrival = Arrival {
            now,
            at_ms: self.millis(now),
            token: shown,
            fault: id,
            outage: is_outage,
        };
        let sequence = state.book.arrived(call, arrival);
        drop(state);
        self.notify();
        Ticket {
            sequence,
            correlation_id,
            rate,
            fault,
        }
    }

    /// Serves the call, as far as its fault lets it.
    async fn treat(self, call: Incoming, ticket: Ticket) -> Verdict {
        let fault = &ticket.fault;
        pause(fault.delay_before_ms).await;
        let verdict = match &fault.action {
            FaultAction::Pass => {
                let answer = self.serve(&call, &ticket);
                pause(fault.delay_after_ms).await;
                Verdict::Answer(answer)
            }
            FaultAction::Answer { answer, after_effect } => {
                self.serve_if(*after_effect, &call, &ticket).await;
                Verdict::Answer(Answer::scripted(answer, &call, &ticket.correlation_id, self.now()))
            }
            FaultAction::Reset { after_effect } => {
                self.serve_if(*after_effect, &call, &ticket).await;
                Verdict::Reset
            }
            FaultAction::Hang { after_effect } => {
                self.serve_if(*after_effect, &call, &ticket).await;
                Verdict::Hang
            }
        };
        self.conclude(verdict, &ticket)
    }

    /// The effect without its answer, if it takes place at all, and the delay that follows.
    async fn serve_if(&self, after_effect: bool, call: &Incoming, ticket: &Ticket) {
        if after_effect {
            self.serve(call, ticket);
        }
        pause(ticket.fault.delay_after_ms).await;
    }

    /// The effect, and the answer that belongs to it.
    fn serve(&self, call: &Incoming, ticket: &Ticket) -> Answer {
        let mut state = self.state();
        let now = self.now();
        let answer = if call.operation == Operation::Webhook {
            let endpoint = call.guest.as_ref().and_then(|name| state.endpoints.get(name));
            let reception = endpoint.map_or_else(receiver::unknown_endpoint, |endpoint| endpoint.receive(call));
            state.book.received(ticket.sequence, &reception);
            reception.answer
        } else {
            let done = state.serve(call, ticket.rate, &ticket.correlation_id, now);
            state.book.served(ticket.sequence, &done, self.millis(now));
            if let (Some(after), Some(guest), Some(incarnation)) = (done.ends_after, &call.guest, done.incarnation) {
                self.end_later(ticket.sequence, guest.clone(), incarnation, after);
            }
            done.answer
        };
        drop(state);
        self.notify();
        answer
    }

    /// Ends a session some time after its termination was accepted.
    fn end_later(&self, sequence: u64, guest: String, incarnation: u32, after: Duration) {
        let controls = self.clone();
        tokio::spawn(async move {
            let stopping = controls.stopping().clone();
            if stopping.run_until_cancelled(tokio::time::sleep(after)).await.is_none() {
                return;
            }
            let mut state = controls.state();
            let now = controls.now();
            let default = state.settings.after;
            let session = state.sessions.get_mut(&guest);
            if session.is_some_and(|session| session.end_accepted(incarnation, default, now)) {
                state.book.took_effect(sequence, controls.millis(now));
            }
            drop(state);
            controls.notify();
        });
    }

    /// Writes down what goes back.
    fn conclude(&self, mut verdict: Verdict, ticket: &Ticket) -> Verdict {
        if let Verdict::Answer(answer) = &mut verdict {
            ticket.sign(answer);
        }
        let ending = ending(&verdict, ticket, self.millis(self.now()));
        self.state().book.ended(ticket.sequence, ending);
        self.notify();
        verdict
    }
}

impl Ticket {
    /// Adds the vendor's headers to the vendor's answers.
    fn sign(&self, answer: &mut Answer) {
        if !answer.from_vendor {
            return;
        }
        if let Ok(id) = HeaderValue::try_from(&self.correlation_id) {
            answer.headers.insert("inin-correlation-id", id.clone());
            answer.headers.insert("x-request-id", id);
        }
        if let Some(rate) = self.rate {
            rate.write(&mut answer.headers);
        }
    }
}

fn ending(verdict: &Verdict, ticket: &Ticket, at_ms: u64) -> Ending {
    let (outcome, answer) = match verdict {
        Verdict::Answer(answer) if answer.truncated => (Outcome::Truncated, Some(answer)),
        Verdict::Answer(answer) => (Outcome::Answered, Some(answer)),
        Verdict::Reset => (Outcome::Reset, None),
        Verdict::Hang => (Outcome::Hung, None),
    };
    Ending {
        outcome,
        status: answer.map(|answer| answer.status.as_u16()),
        correlation_id: answer
            .filter(|answer| answer.from_vendor)
            .map(|_| ticket.correlation_id.clone()),
        at_ms,
    }
}

async fn pause(millis: u64) {
    if millis > 0 {
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }
}

/// A caller that waits for its answer. It is dropped with the connection, so it knows when the caller is gone.
struct Presence {
    controls: Controls,
    sequence: u64,
    guest: Option<String>,
    gone: bool,
}

impl Presence {
    fn of(controls: &Controls, call: &Incoming, ticket: &Ticket) -> Self {
        let guest = call.guest.clone().filter(|_| call.operation.is_guest_call());
        Self {
            controls: controls.clone(),
            sequence: ticket.sequence,
            guest,
            gone: true,
        }
    }

    fn answered(&mut self) {
        self.gone = false;
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.controls
            .state()
            .book
            .left(self.sequence, self.guest.as_deref(), self.gone);
    }
}
