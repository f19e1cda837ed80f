//! The server's half of a request: what it meets on arrival, what it does, and what is said about it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::{
    State, World,
    conditions::{begin, holding},
    network::{Answer, Broken, Fate},
    setup,
};
use crate::{
    apiserver::{
        Administrator, Reply, Watch,
        requests::{Side, TERMINATIONS, merge_patch},
    },
    faults::{Effect, FaultKind},
    history::{Process, Server, What},
    plan::Shape,
    vendor::{Arrival, Canned, EndpointMode, Mode, NoRoute, Operation, RetryAfter, TokenMode, Vendor, canned},
};

/// Whose host that is.
pub(super) fn server_of(host: &str) -> Server {
    if host == setup::RECEIVER_HOST {
        Server::Receiver
    } else {
        Server::Vendor
    }
}

/// Which of the seven effects a request is, if it is one.
pub(super) fn effect_of(server: Server, request: &Request<Bytes>) -> Option<Effect> {
    let path = request.uri().path();
    match server {
        Server::Vendor => Some(match operation(request)? {
            Operation::Observe => Effect::Observe,
            Operation::Terminate => Effect::Terminate,
        }),
        Server::Receiver => Some(Effect::Webhook),
        Server::Cluster if request.method() == Method::POST && path.contains("/events") => Some(Effect::Event),
        Server::Cluster if request.method() == Method::PUT && path.contains("/guestterminations/") => {
            let object: Value = serde_json::from_slice(request.body()).ok()?;
            let status = &object["status"];
            let tried =
                |webhook: &Value| webhook["attempts"].as_u64().unwrap_or(0) > 0 || webhook["state"] != "Pending";
            if status["finished"] == true {
                let tried = status["webhooks"].as_array().is_some_and(|all| all.iter().any(tried));
                Some(if tried { Effect::Delivered } else { Effect::Result })
            } else {
                let attempt = &status["currentAttempt"];
                (attempt.is_object() && attempt["acceptedTime"].is_null()).then_some(Effect::Intent)
            }
        }
        Server::Cluster => None,
    }
}

/// Which guest call a request is; `None` for a token request.
fn operation(request: &Request<Bytes>) -> Option<Operation> {
    match *request.method() {
        Method::GET => Some(Operation::Observe),
        Method::DELETE => Some(Operation::Terminate),
        _ => None,
    }
}

/// What a server does with a request.
enum Served {
    Answer(Response<Bytes>),
    /// An error in place of what the server said.
    Other(Response<Bytes>),
    Watch(Watch),
    Broken(Broken),
}

impl World {
    /// The server's half.
    pub(super) async fn serve(
        self,
        process: Process,
        server: Server,
        fate: Fate,
        request: Request<Bytes>,
        answer: oneshot::Sender<Result<Answer, Broken>>,
    ) {
        tokio::time::sleep(fate.there).await;
        let (served, swallowed) = {
            let mut state = self.lock();
            (state.take_in(server, fate, &request), state.swallows(server, &request))
        };
        if swallowed {
            return;
        }
        match fate.kind {
            Some(FaultKind::CrashAfter) => return self.kill(process),
            Some(FaultKind::AnswerLost | FaultKind::Late) => return,
            Some(FaultKind::Stale) if server != Server::Cluster => {
                // The network delivers it twice.
                let (world, twice) = (self.clone(), fate);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    world.lock().act(server, twice, &request);
                });
            }
            _ => {}
        }
        tokio::time::sleep(fate.back).await;
        let answered = match served {
            Served::Answer(response) => Ok(Answer::Whole(response)),
            Served::Other(response) => Ok(Answer::Other(response)),
            Served::Watch(watch) => Ok(Answer::Stream(self.open(watch))),
            Served::Broken(broken) => Err(broken),
        };
        let _ = answer.send(answered);
    }
}

impl State {
    /// A request arrives.
    fn take_in(&mut self, server: Server, fate: Fate, request: &Request<Bytes>) -> Served {
        let at = self.at();
        match fate.kind {
            Some(FaultKind::Reset) => return Served::Broken(Broken::Reset),
            Some(FaultKind::Refuse) => match server {
                Server::Cluster => return Served::Answer(self.refusal(fate)),
                Server::Receiver => return Served::Other(canned(Canned::Unavailable, self.now())),
                // A mode of the model: see `act`.
                Server::Vendor => {}
            },
            Some(FaultKind::ErrorWithoutEffect) => return Served::Other(self.error(server, fate)),
            Some(FaultKind::Conflict) => self.meddle(server, request),
            Some(FaultKind::Stale) if server == Server::Cluster => {
                let span = Duration::from_secs(60 + self.draw(5, fate.ordinal) % 240);
                let by = Duration::from_secs(2 + self.draw(6, fate.ordinal) % 60);
                begin(&mut self.conditions.lag, at + span, by);
                begin(&mut self.conditions.mess, at + span, ());
            }
            _ => {}
        }
        if let Some(served) = self.hindrance(server, request) {
            return served;
        }
        let served = self.act(server, fate, request);
        if fate.kind == Some(FaultKind::ErrorWithEffect) {
            return Served::Other(self.error(server, fate));
        }
        served
    }

    /// What stands in the way of every request of its kind right now.
    fn hindrance(&self, server: Server, request: &Request<Bytes>) -> Option<Served> {
        let at = self.at();
        match server {
            Server::Cluster => {
                let is_write = request.method() != Method::GET;
                let is_status = is_write && request.uri().path().ends_with("/status");
                if holding(&self.conditions.cluster_down, at).is_some() {
                    Some(Served::Broken(Broken::Refused))
                } else if is_write && holding(&self.conditions.read_only, at).is_some() {
                    Some(Served::Answer(refusal(
                        500,
                        "InternalError",
                        "etcdserver: mvcc: database space exceeded",
                    )))
                } else if is_status && holding(&self.conditions.no_status_writes, at).is_some()
                    || request.uri().path().contains("/leases") && holding(&self.conditions.no_leases, at).is_some()
                {
                    Some(Served::Answer(refusal(
                        403,
                        "Forbidden",
                        "User \"operator\" cannot do that: RBAC",
                    )))
                } else {
                    None
                }
            }
            // Their troubles are modes of the models: see `act`.
            Server::Vendor | Server::Receiver => None,
        }
    }

    /// Whether the answer to a request is lost, because the answers to all of its kind are.
    fn swallows(&self, server: Server, request: &Request<Bytes>) -> bool {
        let lists = server == Server::Cluster && *request.method() == Method::GET;
        lists && setup::is_collection(request.uri().path()) && holding(&self.conditions.swallowing, self.at()).is_some()
    }

    /// The server acts.
    fn act(&mut self, server: Server, fate: Fate, request: &Request<Bytes>) -> Served {
        let (at, now) = (self.at(), self.now());
        match server {
            Server::Cluster => {
                let reads = request.method() == Method::GET;
                let back = holding(&self.conditions.time_travel, at).copied();
                // A single object is always read from the newest state: the server promises that.
                let view = back.filter(|_| reads && setup::is_collection(request.uri().path()));
                let view = view.map(|by| self.version_at(at.saturating_sub(by)));
                let reply = self.cluster.handle(now, view, request);
                self.note_changes(Some(fate.ordinal));
                match reply {
                    Reply::Answer(response) => Served::Answer(response),
                    Reply::Watch(watch) => Served::Watch(watch),
                }
            }
            Server::Vendor => {
                let arrival = self.arrival(fate);
                self.set_modes(at, request);
                if fate.kind == Some(FaultKind::Refuse) {
                    let modes = [Mode::Throttles(None), Mode::Forbidden, Mode::Unauthorized];
                    let mode = &modes[(self.draw(7, fate.ordinal) % 3) as usize];
                    for vendor in &mut self.vendors {
                        (vendor.observe, vendor.terminate) = (mode.clone(), mode.clone());
                    }
                }
                let host = request.uri().host().unwrap_or_default();
                let organisation = self.organisations().find(|organisation| organisation.host() == host);
                let response = organisation.map(|organisation| organisation.handle(arrival, request));
                self.note_vendor();
                // Nobody answers for a host that is nobody's.
                Served::Answer(response.unwrap_or_else(|| self.error(server, fate)))
            }
            Server::Receiver => {
                let arrival = self.arrival(fate);
                let status = holding(&self.conditions.receiver, at).copied();
                for endpoint in setup::endpoints(&self.plan) {
                    let mode = match status {
                        None => EndpointMode::Answers(200),
                        Some(302) => EndpointMode::Redirects,
                        Some(429) => EndpointMode::Pauses(429, RetryAfter::Seconds(40)),
                        Some(status) => EndpointMode::Answers(status),
                    };
                    self.receiver.set_mode(&endpoint, mode);
                }
                let response = self.receiver.handle(arrival, request);
                let entries: Vec<_> = self.receiver.drain().collect();
                for entry in entries {
                    self.record(entry.into());
                }
                Served::Answer(response)
            }
        }
    }

    fn arrival(&self, fate: Fate) -> Arrival {
        Arrival {
            at: self.at(),
            now: self.now(),
            ordinal: fate.ordinal,
        }
    }

    /// The vendor is as the conditions of the moment make it.
    fn set_modes(&mut self, at: Duration, request: &Request<Bytes>) {
        let conditions = &self.conditions;
        let mode = |operation| {
            if conditions.outage(at, Some(operation)) {
                return Mode::Unavailable(None);
            }
            if let Some(retry_after) = holding(&conditions.throttles, at) {
                return Mode::Throttles(retry_after.map(|seconds| RetryAfter::Seconds(seconds.into())));
            }
            match holding(&conditions.lost_routes, at) {
                Some(Shape::Empty) => Mode::NoRoute(NoRoute::Empty),
                Some(Shape::Html) => Mode::NoRoute(NoRoute::Page),
                Some(Shape::KubernetesStatus) => Mode::NoRoute(NoRoute::Status),
                // Who vouches for a path that is not there gets what was asked for: nothing is to be found out by that.
                Some(Shape::NotFound) if self.plan.connection.trusted => Mode::NoRoute(NoRoute::Json),
                Some(Shape::NotFound) => Mode::NoRoute(NoRoute::Vendors),
                None if conditions.forbids(at, &setup::guest_of(request)) => Mode::Forbidden,
                None => Mode::Works,
            }
        };
        let (observe, terminate) = (mode(Operation::Observe), mode(Operation::Terminate));
        let token = if conditions.outage(at, None) {
            TokenMode::Status(503)
        } else {
            TokenMode::Works
        };
        for vendor in &mut self.vendors {
            (vendor.observe, vendor.terminate) = (observe.clone(), terminate.clone());
            vendor.set_token_mode(token.clone());
        }
    }

    /// Every organisation of the vendor's, wherever a connection leads to it.
    pub(super) fn organisations(&mut self) -> impl Iterator<Item = &mut Vendor> {
        self.vendors.iter_mut().chain([&mut self.elsewhere])
    }

    /// What the vendor did goes into the history.
    pub(super) fn note_vendor(&mut self) {
        let entries: Vec<_> = self.organisations().flat_map(Vendor::drain).collect();
        for entry in entries {
            self.record(entry.into());
        }
    }

    fn error(&self, server: Server, fate: Fate) -> Response<Bytes> {
        let draw = self.draw(3, fate.ordinal);
        match server {
            Server::Cluster => match draw % 3 {
                0 => refusal(500, "InternalError", "etcdserver: request timed out"),
                1 => refusal(503, "ServiceUnavailable", "apiserver is shutting down"),
                _ => refusal(
                    504,
                    "Timeout",
                    "Timeout: request did not complete within requested timeout",
                ),
            },
            Server::Vendor | Server::Receiver => {
                let kinds = [
                    Canned::InternalError,
                    Canned::BadGateway,
                    Canned::Unavailable,
                    Canned::GatewayTimeout,
                    Canned::Page,
                    Canned::Conflict,
                ];
                canned(kinds[(draw % 6) as usize], self.now())
            }
        }
    }

    /// The API server's own refusal, which somebody else has to take back, or which passes.
    fn refusal(&self, fate: Fate) -> Response<Bytes> {
        match self.draw(8, fate.ordinal) % 3 {
            0 => refusal(403, "Forbidden", "RBAC: not allowed"),
            1 => refusal(401, "Unauthorized", "the token has expired"),
            _ => refusal(429, "TooManyRequests", "too many requests, please try again later"),
        }
    }

    /// Somebody else changes what a request is about, right before it arrives.
    fn meddle(&mut self, server: Server, request: &Request<Bytes>) {
        let draw = self.draw(4, self.last_ordinal);
        match server {
            Server::Cluster => {
                let path = request.uri().path();
                if let Some(name) = path.split("/guestterminations/").nth(1) {
                    let name = name.trim_end_matches("/status").to_owned();
                    let objects = 0..self.plan.objects.len();
                    let whose = objects.into_iter().find(|object| setup::object_name(*object) == name);
                    whose.into_iter().for_each(|object| self.edit_labels(object, draw));
                }
            }
            Server::Vendor => {
                let guest = setup::guest_of(request);
                let at = self.at();
                for vendor in &mut self.vendors {
                    vendor.leave(at, &guest);
                    if draw % 2 == 1 {
                        vendor.come_back(at, &guest);
                    }
                }
                self.note_vendor();
            }
            Server::Receiver => {
                for object in 0..self.plan.objects.len() {
                    self.edit_labels(object, draw);
                }
            }
        }
    }

    pub(super) fn edit_labels(&mut self, object: usize, draw: u64) {
        let patch = json!({"metadata": {"labels": {"edited": format!("{draw:x}")}}});
        let (namespace, name) = (setup::namespace_of(&self.plan, object), setup::object_name(object));
        self.user(merge_patch(&TERMINATIONS, &namespace, &name, Side::Main, &patch));
    }

    /// A request of a user's, which nothing stands in the way of. False if the server refuses it.
    pub(super) fn user(&mut self, mut request: Request<Bytes>) -> bool {
        request.extensions_mut().insert(Administrator);
        let now = self.now();
        let reply = self.cluster.handle(now, None, &request);
        self.note_changes(None);
        let Reply::Answer(answer) = reply else { return true };
        if !answer.status().is_success() {
            let words = String::from_utf8_lossy(answer.body()).into_owned();
            self.record(What::World(format!("a user is refused: {words}")));
        }
        answer.status().is_success()
    }

    /// What the API server stored goes into the history, and to the watches.
    fn note_changes(&mut self, ordinal: Option<u64>) {
        let changes = self.cluster.take_changes();
        if changes.is_empty() {
            return;
        }
        for change in changes {
            self.record(What::Stored {
                ordinal,
                before: change.before,
                after: change.after,
            });
        }
        let (at, version) = (self.at(), self.cluster.version());
        self.stored_at.push((at, version));
        self.wake_watches();
    }

    /// The newest version that was stored by then.
    pub(super) fn version_at(&self, at: Duration) -> u64 {
        let later = self.stored_at.partition_point(|(stored, _)| *stored <= at);
        later
            .checked_sub(1)
            .and_then(|last| self.stored_at.get(last))
            .map_or(0, |(_, version)| *version)
    }
}

/// An error of the API server that it gives without a look at the request.
fn refusal(code: u16, reason: &str, message: &str) -> Response<Bytes> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code});
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
