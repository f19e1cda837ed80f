//! The vendor: one organisation behind one host.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    Arrival, CANARY, Call, Effect, Entry, Operation, RetryAfter, TokenMode, Told,
    answers::{
        Canned, canned, empty, json_body, page, vendors, vendors_error, with_body, with_header, with_retry_after,
    },
    guests::{EndedAs, Ending, Found, Guest, Guests, Trouble},
    modes::{Mode, NoRoute},
    tokens::{Rate, Tokens},
};

/// The vendor's closure-reason matrix.
const REASONS: [&str; 5] = [
    "customer_initiated",
    "agent_initiated",
    "timeout",
    "system_escalation",
    "bot_handoff",
];
/// The vendor's code for anything that is not there.
const NOT_FOUND: &str = "not.found";
/// The vendor's code for a session that is not there.
const NO_CONVERSATION: &str = "conversation.error.conversation.not.found";

/// One organisation of the vendor's behind one host.
#[derive(Clone, Debug)]
pub struct Vendor {
    host: String,
    guests: Guests,
    tokens: Tokens,
    /// A guest was shown: the path is one.
    shown: bool,
    /// Calls a minute that a token may make; without, nothing is said of a limit.
    pub limit: Option<u32>,
    /// What becomes of looks.
    pub observe: Mode,
    /// What becomes of terminations.
    pub terminate: Mode,
    entries: Vec<Entry>,
}

impl Vendor {
    /// A vendor that works, behind `host` (with the port where that is not the scheme's own).
    pub fn new(host: &str) -> Self {
        Self {
            host: host.to_owned(),
            guests: Guests::default(),
            tokens: Tokens::default(),
            shown: false,
            limit: Some(300),
            observe: Mode::Works,
            terminate: Mode::Works,
            entries: Vec::new(),
        }
    }

    /// The host.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Makes a client known, or changes its secret: tokens of another secret die.
    pub fn set_client(&mut self, client: &str, secret: &str) {
        self.tokens.set_client(client, secret);
    }

    /// Kills all tokens that were issued.
    pub fn revoke_tokens(&mut self) {
        self.tokens.revoke_of(None);
    }

    /// Sets what the token endpoint does.
    pub fn set_token_mode(&mut self, mode: TokenMode) {
        self.tokens.mode = mode;
    }

    /// Sets how long tokens live, and what is said of it where that is not the truth.
    pub fn set_token_lifetime(&mut self, lifetime: Duration, said: Option<Value>) {
        self.tokens.lifetime = lifetime;
        self.tokens.expires_in = said;
    }

    /// Makes a guest known.
    pub fn add_guest(&mut self, at: Duration, id: &str, guest: Guest) {
        let began = self.guests.add(&self.host, at, id, guest);
        self.entries.push(Entry::Life(began));
    }

    /// A guest, to change how it behaves.
    pub fn guest_mut(&mut self, id: &str) -> Option<&mut Guest> {
        self.guests.get_mut(id)
    }

    /// Whether the guest's session goes on.
    pub fn is_active(&self, id: &str) -> bool {
        self.guests.find(id).is_some_and(|found| found.active)
    }

    /// The guest comes back, if it is away: the next life.
    pub fn come_back(&mut self, at: Duration, id: &str) {
        self.pass(at);
        let began = self.guests.come_back(&self.host, at, id);
        self.entries.extend(began.map(Entry::Life));
    }

    /// The guest leaves by itself.
    pub fn leave(&mut self, at: Duration, id: &str) {
        self.pass(at);
        let ended = self.guests.end(&self.host, at, id, None);
        self.entries.extend(ended.map(Entry::Life));
    }

    /// What lags and is due by then takes effect.
    pub fn pass(&mut self, at: Duration) {
        let ended = self.guests.pass(&self.host, at);
        self.entries.extend(ended.into_iter().map(Entry::Life));
    }

    /// What happened since the last time, in order.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Entry> {
        self.entries.drain(..)
    }

    /// Takes a request in and answers it.
    pub fn handle(&mut self, arrival: Arrival, request: &Request<Bytes>) -> Response<Bytes> {
        self.pass(arrival.at);
        let path = request.uri().path();
        if path.ends_with("/oauth/token") && request.method() == Method::POST {
            let answer = self.tokens.issue(arrival, request.body());
            self.entries
                .push(Entry::Token(arrival.ordinal, answer.status().as_u16()));
            return answer;
        }
        let operation = match *request.method() {
            Method::GET => Some(Operation::Observe),
            Method::DELETE => Some(Operation::Terminate),
            _ => None,
        };
        let guest = path
            .split_once("/api/v2/webmessaging/guests/")
            .map(|(_, guest)| guest)
            .filter(|guest| !guest.is_empty() && !guest.contains('/'));
        let (Some(operation), Some(guest)) = (operation, guest) else {
            return vendors_error(StatusCode::NOT_FOUND, NOT_FOUND, arrival.now, arrival.ordinal);
        };
        self.call(arrival, request, operation, guest)
    }

    fn call(
        &mut self,
        arrival: Arrival,
        request: &Request<Bytes>,
        operation: Operation,
        guest: &str,
    ) -> Response<Bytes> {
        let token = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let shown = token.and_then(|token| self.tokens.show(token, arrival.at));
        let good = shown.is_some_and(|(_, good)| good);
        let client = shown.map(|(client, _)| client.to_owned());
        let rate = match (token, self.limit) {
            (Some(token), Some(allowed)) if good => self.tokens.count(token, allowed, arrival.at),
            _ => None,
        };
        let found = self.guests.find(guest);
        let asked = Asked {
            arrival,
            operation,
            guest,
            query: request.uri().query().unwrap_or_default(),
            good,
            rate,
            found,
        };
        let done = self.answer(&asked);
        if done.effect == Effect::Ended {
            let ended = self.guests.end(&self.host, arrival.at, guest, Some(arrival.ordinal));
            self.entries.extend(ended.map(Entry::Life));
        }
        self.shown |= done.vendors && operation == Operation::Observe && done.answer.status() == StatusCode::OK;
        let answer = match rate.filter(|_| done.vendors) {
            Some(rate) => rated(done.answer, rate),
            None => done.answer,
        };
        let call = Call {
            host: self.host.clone(),
            client,
            operation,
            guest: guest.to_owned(),
            life: found.map(|found| found.life),
            active: found.is_some_and(|found| found.active),
            effect: done.effect,
            told: done.told,
            status: answer.status().as_u16(),
            allowed: rate.filter(|_| done.vendors).map(|rate| rate.allowed),
            retry_after: done.retry_after,
        };
        self.entries.push(Entry::Call(arrival.ordinal, call));
        answer
    }

    fn answer(&mut self, asked: &Asked<'_>) -> Done {
        let mode = match asked.operation {
            Operation::Observe => self.observe.clone(),
            Operation::Terminate => self.terminate.clone(),
        };
        let error = |status, code, told| Done::vendors(asked.error(status, code), told);
        let now = asked.arrival.now;
        match mode {
            Mode::Works => {}
            Mode::Status(status) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                return Done::foreign(empty(status, now));
            }
            Mode::Unavailable(retry_after) => {
                let done = error(StatusCode::SERVICE_UNAVAILABLE, "service.unavailable", Told::Nothing);
                return done.pausing(retry_after.as_ref(), now);
            }
            Mode::NoRoute(NoRoute::Vendors) if !self.shown => {
                return error(StatusCode::NOT_FOUND, NOT_FOUND, Told::NotFound);
            }
            Mode::NoRoute(shape) => return Done::foreign(canned(shape.canned(), now)),
            Mode::OtherGuest => {
                let other = json!({"id": format!("{}-2", asked.guest), "state": "closed"});
                return Done::foreign(json_body(asked.vendors(StatusCode::OK), &other));
            }
            Mode::Page => {
                return Done::foreign(with_body(empty(StatusCode::OK, now), "text/html", Bytes::from(page())));
            }
            Mode::Garbage => return Done::foreign(canned(Canned::BrokenJson, now)),
            Mode::Unauthorized => return error(StatusCode::UNAUTHORIZED, "bad.credentials", Told::Unauthorized),
            Mode::Forbidden => return error(StatusCode::FORBIDDEN, "missing.any.permissions", Told::Forbidden),
            Mode::Throttles(retry_after) => {
                let done = error(StatusCode::TOO_MANY_REQUESTS, "too.many.requests", Told::Throttled);
                return done.pausing(retry_after.as_ref(), now);
            }
        }
        if !asked.good {
            return error(StatusCode::UNAUTHORIZED, "bad.credentials", Told::Unauthorized);
        }
        if let Some(rate) = asked.rate.filter(|rate| rate.count > rate.allowed) {
            let code = "too.many.requests.retry.after";
            return error(StatusCode::TOO_MANY_REQUESTS, code, Told::Throttled)
                .pausing(Some(&RetryAfter::Seconds(rate.reset_seconds)), now);
        }
        match asked.found.and_then(|found| found.guest.trouble) {
            Some(Trouble::Forbidden) => return error(StatusCode::FORBIDDEN, "not.authorized", Told::Forbidden),
            Some(Trouble::Refused) => return error(StatusCode::BAD_REQUEST, "bad.request", Told::Refused),
            Some(Trouble::OddState(_)) | None => {}
        }
        match asked.operation {
            Operation::Observe => asked.observed(),
            Operation::Terminate => self.terminated(asked),
        }
    }

    fn terminated(&mut self, asked: &Asked<'_>) -> Done {
        let parameter = |name: &str| form_urlencoded::parse(asked.query.as_bytes()).find(|(key, _)| key == name);
        let reason = parameter("reason").is_some_and(|(_, reason)| REASONS.contains(&reason.as_ref()));
        let retain = parameter("retainData").is_some_and(|(_, retain)| retain == "true" || retain == "false");
        if !reason || !retain {
            return Done::vendors(asked.error(StatusCode::BAD_REQUEST, "bad.request"), Told::Refused);
        }
        let Some(found) = asked.found.filter(|found| found.active) else {
            return asked.gone();
        };
        let effect = self
            .guests
            .effect(asked.arrival.at, asked.arrival.ordinal, asked.guest, found.guest.ending);
        let (answer, told) = match found.guest.ending {
            Ending::AtOnce | Ending::Lagging(_) => (asked.vendors(StatusCode::NO_CONTENT), Told::Applied),
            Ending::AtOnceWithBody => (asked.shows("closed"), Told::Applied),
            Ending::Accepted(_) | Ending::AcceptedNever => (asked.vendors(StatusCode::ACCEPTED), Told::Accepted),
        };
        Done {
            effect,
            ..Done::vendors(answer, told)
        }
    }
}

/// A guest call, and what stands around it.
struct Asked<'a> {
    arrival: Arrival,
    operation: Operation,
    guest: &'a str,
    query: &'a str,
    /// Its token is good.
    good: bool,
    rate: Option<Rate>,
    found: Option<Found>,
}

impl Asked<'_> {
    fn vendors(&self, status: StatusCode) -> Response<Bytes> {
        vendors(status, self.arrival.now, self.arrival.ordinal)
    }

    fn error(&self, status: StatusCode, code: &str) -> Response<Bytes> {
        vendors_error(status, code, self.arrival.now, self.arrival.ordinal)
    }

    fn shows(&self, state: &str) -> Response<Bytes> {
        let body = json!({
            "id": self.guest, "state": state, "lastUpdated": format!("{:.3}", self.arrival.now), "note": CANARY,
        });
        json_body(self.vendors(StatusCode::OK), &body)
    }

    fn observed(&self) -> Done {
        let Some(found) = self.found else {
            return self.gone();
        };
        match (found.active, found.guest.trouble, found.guest.ended_as) {
            (true, Some(Trouble::OddState(state)), _) => Done::vendors(self.shows(state), Told::Unclear),
            (true, ..) => Done::vendors(self.shows("active"), Told::Active),
            (false, _, EndedAs::State(state)) => Done::vendors(self.shows(state), Told::Over),
            (false, ..) => self.gone(),
        }
    }

    /// The answer for a session that is not there.
    fn gone(&self) -> Done {
        let ended_as = self.found.map_or(EndedAs::NotFound, |found| found.guest.ended_as);
        let missing = StatusCode::NOT_FOUND;
        match ended_as {
            EndedAs::NotFound => Done::vendors(self.error(missing, NOT_FOUND), Told::NotFound),
            EndedAs::Empty => Done::vendors(self.vendors(missing), Told::NotFound),
            EndedAs::State(_) | EndedAs::NoConversation => {
                Done::vendors(self.error(missing, NO_CONVERSATION), Told::Over)
            }
            EndedAs::Gone => Done::vendors(self.error(StatusCode::GONE, NO_CONVERSATION), Told::Over),
        }
    }
}

/// What was answered, and what it does.
struct Done {
    answer: Response<Bytes>,
    told: Told,
    effect: Effect,
    retry_after: Option<Duration>,
    /// The vendor itself answered: its rate limit is told.
    vendors: bool,
}

impl Done {
    fn vendors(answer: Response<Bytes>, told: Told) -> Self {
        Self {
            answer,
            told,
            effect: Effect::None,
            retry_after: None,
            vendors: true,
        }
    }

    fn foreign(answer: Response<Bytes>) -> Self {
        Self {
            vendors: false,
            ..Self::vendors(answer, Told::Nothing)
        }
    }

    fn pausing(self, retry_after: Option<&RetryAfter>, now: Timestamp) -> Self {
        Self {
            answer: with_retry_after(self.answer, retry_after, now),
            retry_after: retry_after.and_then(RetryAfter::pause),
            ..self
        }
    }
}

fn rated(answer: Response<Bytes>, rate: Rate) -> Response<Bytes> {
    let headers = [
        ("inin-ratelimit-count", u64::from(rate.count)),
        ("inin-ratelimit-allowed", u64::from(rate.allowed)),
        ("inin-ratelimit-reset", rate.reset_seconds),
    ];
    headers.into_iter().fold(answer, |answer, (name, value)| {
        with_header(answer, HeaderName::from_static(name), HeaderValue::from(value))
    })
}
