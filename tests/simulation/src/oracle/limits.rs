//! Limits: I8, and of I12 what can be seen from outside.

use std::time::Duration;

use super::{Invariant, Oracle, Verdict, books::Request, read::GuestLine, violation};
use crate::history::Ordinal;

const WINDOW: Duration = Duration::from_secs(60);
/// A call that was not answered by then is given up by its sender, though nobody says so.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

impl Oracle {
    /// I8 and I12, at a departure.
    ///
    /// I8: no window of 60 s holds more departures to a host, of all processes together, than the connections to it allow
    /// (the smaller of the spec's limit and the vendor's word, of each the largest that was in force in the last 90 s: a
    /// process has to hear of a change, and a window straddles it). Departures, not arrivals: what the network holds up
    /// and lets go at once is not the operator's doing.
    ///
    /// And none before a `Retry-After` of the vendor's own 429 that the process heard is over; where one connection leads
    /// to the host, because the pause is the connection's.
    ///
    /// I12: a process has no more calls in flight to a host than the connections to it allow, and one for a guest. The
    /// bounds of queues and memory cannot be seen here.
    pub(super) fn within_limits(&mut self, ordinal: Ordinal, sent: Request, call: &GuestLine) -> Verdict {
        let (calls, passes) = self.books.connections.limits(&call.host, sent.at);
        let calls = calls * self.facts.leaders;
        if let Some((until, answer)) = self.books.pauses.get(&(sent.process, call.host.clone()))
            && sent.at < *until
            && self.books.connections.is_only_one(&call.host)
        {
            let sentence = format!("#{ordinal} leaves before the pause is over that the answer to #{answer} asks for");
            return Err(violation(Invariant::I8, &call.host, sentence));
        }
        let window = self.books.window.entry(call.host.clone()).or_default();
        while window.front().is_some_and(|(at, _)| *at + WINDOW <= sent.at) {
            window.pop_front();
        }
        window.push_back((sent.at, ordinal));
        if window.len() > calls as usize {
            let first = window.front().map(|(_, first)| *first).unwrap_or_default();
            let sentence = format!(
                "{} calls within 60 s, #{first} to #{ordinal}, and {calls} are allowed",
                window.len()
            );
            return Err(violation(Invariant::I8, &call.host, sentence));
        }
        let flights = self.books.flights.entry((sent.process, call.host.clone())).or_default();
        flights.retain(|_, (_, at)| sent.at < *at + CALL_TIMEOUT);
        if let Some((other, _)) = flights.iter().find(|(_, (guest, _))| *guest == call.guest) {
            let sentence = format!(
                "#{ordinal} leaves process {} while #{other} for the same guest is on its way",
                sent.process
            );
            return Err(violation(Invariant::I12, &call.host, sentence));
        }
        flights.insert(ordinal, (call.guest.clone(), sent.at));
        if flights.len() > passes as usize {
            let sentence = format!(
                "process {} has {} calls on their way with #{ordinal}, and {passes} are allowed",
                sent.process,
                flights.len()
            );
            return Err(violation(Invariant::I12, &call.host, sentence));
        }
        Ok(())
    }
}
