//! Guests and their lives.

use std::{collections::BTreeMap, time::Duration};

use super::{Change, Effect, Life};
use crate::history::Ordinal;

/// How the vendor treats one guest id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guest {
    /// How a termination goes.
    pub ending: Ending,
    /// How a look or a termination is answered once a life is over.
    pub ended_as: EndedAs,
    /// What is special about it.
    pub trouble: Option<Trouble>,
}

impl Default for Guest {
    /// One that ends at once, and is shown as closed then.
    fn default() -> Self {
        Self {
            ending: Ending::AtOnce,
            ended_as: EndedAs::State("closed"),
            trouble: None,
        }
    }
}

/// How a termination of an active session goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// 204, and it is over.
    AtOnce,
    /// 200 with the closed guest as its body, and it is over.
    AtOnceWithBody,
    /// 204, and it is over so much later.
    Lagging(Duration),
    /// 202, and it is over so much later.
    Accepted(Duration),
    /// 202, and nothing comes of it.
    AcceptedNever,
}

/// How a session that is over is answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndedAs {
    /// A look says 200 with this state, a termination 404 with the code that only a missing session has.
    State(&'static str),
    /// 404 `not.found`.
    NotFound,
    /// 404 with the code that only a missing session has.
    NoConversation,
    /// 410 with that code.
    Gone,
    /// 404 without a body but with the vendor's request id.
    Empty,
}

/// What is special about one guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// 403: it belongs to another division.
    Forbidden,
    /// 400 in the vendor's error shape.
    Refused,
    /// A look shows an active session in this state.
    OddState(&'static str),
}

/// All guests of one vendor.
#[derive(Clone, Debug, Default)]
pub(super) struct Guests {
    guests: BTreeMap<String, Found>,
    /// Effects on their way: when, of which call, on whom.
    lagging: BTreeMap<(Duration, Ordinal), String>,
}

/// A guest as a call finds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    /// The lives so far.
    pub(super) life: u32,
    /// The last of them goes on.
    pub(super) active: bool,
    pub(super) guest: Guest,
}

impl Guests {
    pub(super) fn find(&self, id: &str) -> Option<Found> {
        self.guests.get(id).copied()
    }

    pub(super) fn get_mut(&mut self, id: &str) -> Option<&mut Guest> {
        self.guests.get_mut(id).map(|found| &mut found.guest)
    }

    pub(super) fn add(&mut self, host: &str, at: Duration, id: &str, guest: Guest) -> Life {
        let found = Found {
            life: 1,
            active: true,
            guest,
        };
        self.guests.insert(id.to_owned(), found);
        life(host, at, id, 1, Change::Begins)
    }

    /// The guest comes back, if it is away.
    pub(super) fn come_back(&mut self, host: &str, at: Duration, id: &str) -> Option<Life> {
        let guest = self.guests.get_mut(id).filter(|guest| !guest.active)?;
        guest.active = true;
        guest.life += 1;
        Some(life(host, at, id, guest.life, Change::Begins))
    }

    /// The session ends, if it goes on.
    pub(super) fn end(&mut self, host: &str, at: Duration, id: &str, by: Option<Ordinal>) -> Option<Life> {
        let guest = self.guests.get_mut(id).filter(|guest| guest.active)?;
        guest.active = false;
        Some(life(host, at, id, guest.life, Change::Ends(by)))
    }

    /// The effect of a termination of an active session, as far as it is one on the spot.
    pub(super) fn effect(&mut self, at: Duration, ordinal: Ordinal, id: &str, ending: Ending) -> Effect {
        match ending {
            Ending::AtOnce | Ending::AtOnceWithBody => Effect::Ended,
            Ending::Lagging(lag) | Ending::Accepted(lag) => {
                self.lagging.insert((at + lag, ordinal), id.to_owned());
                Effect::Later(at + lag)
            }
            Ending::AcceptedNever => Effect::None,
        }
    }

    /// What lags and is due takes effect.
    pub(super) fn pass(&mut self, host: &str, at: Duration) -> Vec<Life> {
        let mut ended = Vec::new();
        while let Some(first) = self.lagging.first_entry().filter(|first| first.key().0 <= at) {
            let ((due, ordinal), id) = first.remove_entry();
            ended.extend(self.end(host, due, &id, Some(ordinal)));
        }
        ended
    }
}

fn life(host: &str, at: Duration, guest: &str, life: u32, change: Change) -> Life {
    Life {
        at,
        host: host.to_owned(),
        guest: guest.to_owned(),
        life,
        change,
    }
}
