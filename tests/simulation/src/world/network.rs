//! The way of a request from a process to a server and back.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use guest_termination_operator::{
    clock::{Clock, SharedClock},
    cluster::with_deadlines,
    transport::{HttpService, Limits, TransportError},
};
use http::{Request, Response, header::DATE};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tower::service_fn;

use super::{State, World};
use crate::{
    clock::{MachineClock, ProcessClock},
    faults::{Effect, FaultKind},
    history::{Ordinal, Process, Server, What},
    plan::Pace,
    vendor::http_date,
};

/// A connection that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Broken {
    #[error("the connection was refused")]
    Refused,
    #[error("the connection was reset")]
    Reset,
}

/// What came back.
pub(super) enum Answer {
    Whole(Response<Bytes>),
    /// An error in place of what the server said.
    Other(Response<Bytes>),
    Stream(mpsc::UnboundedReceiver<Result<Bytes, Broken>>),
}

/// What the network does to one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    pub(super) ordinal: Ordinal,
    pub(super) there: Duration,
    pub(super) back: Duration,
    pub(super) kind: Option<FaultKind>,
}

impl World {
    /// The seam to the vendor and to webhook endpoints, for one process.
    pub(super) fn http(&self, process: Process, clock: &Arc<MachineClock>) -> HttpService {
        let (world, clock) = (self.clone(), clock.clone());
        HttpService::new(service_fn(move |request: Request<Bytes>| {
            let (world, clock) = (world.clone(), clock.clone());
            async move {
                let host = request.uri().host().unwrap_or_default();
                let server = super::servers::server_of(host);
                match world.exchange(process, server, &clock, request).await {
                    Ok(Answer::Whole(response) | Answer::Other(response)) => {
                        Ok(response.map(|body| UnsyncBoxBody::new(Full::new(body).map_err(|never| match never {}))))
                    }
                    Ok(Answer::Stream(_)) | Err(Broken::Reset) => Err(TransportError::Interrupted),
                    Err(Broken::Refused) => Err(TransportError::Connect),
                }
            }
        }))
    }

    /// The seam to the API server, for one process.
    pub(super) fn kube(&self, process: Process, clock: &Arc<MachineClock>, shared: SharedClock) -> kube::Client {
        let (world, clock) = (self.clone(), clock.clone());
        let service = service_fn(move |request: Request<kube::client::Body>| {
            let (world, clock) = (world.clone(), clock.clone());
            async move {
                let (head, body) = request.into_parts();
                let body = body
                    .collect()
                    .await
                    .map_or_else(|_| Bytes::new(), |body| body.to_bytes());
                let request = Request::from_parts(head, body);
                let answer = world.exchange(process, Server::Cluster, &clock, request).await?;
                let mut response = match answer {
                    Answer::Whole(response) | Answer::Other(response) => {
                        response.map(|body| UnsyncBoxBody::new(Full::new(body).map_err(|never| match never {})))
                    }
                    Answer::Stream(chunks) => Response::new(UnsyncBoxBody::new(StreamBody::new(
                        futures::stream::unfold((chunks, clock.clone()), |(mut chunks, clock)| async move {
                            let chunk = chunks.recv().await?;
                            clock.goes_on().await;
                            Some((chunk.map(Frame::data), (chunks, clock)))
                        }),
                    ))),
                };
                if let Some(date) = http_date(world.lock().now(), 0) {
                    response.headers_mut().insert(DATE, date);
                }
                Ok::<_, Broken>(response)
            }
        });
        with_deadlines(service, super::NAMESPACE, shared)
    }

    /// One request, to its answer. What is lost never comes back: whoever waits has a timeout, or has none, which is a
    /// bug that shows.
    async fn exchange(
        &self,
        process: Process,
        server: Server,
        clock: &Arc<MachineClock>,
        request: Request<Bytes>,
    ) -> Result<Answer, Broken> {
        clock.goes_on().await;
        let began = Instant::now();
        let Some(fate) = self.send_off(process, server, clock, &request) else {
            return std::future::pending().await;
        };
        if fate.kind == Some(FaultKind::CrashBefore) {
            self.kill(process);
            return std::future::pending().await;
        }
        let (answer, arrived) = oneshot::channel();
        // A task of the world's: the effect comes about whatever becomes of the caller.
        tokio::spawn(self.clone().serve(process, server, fate, request, answer));
        if fate.kind == Some(FaultKind::Panic) {
            // The request has left. What panics drops its connection.
            self.hand_over(process, fate, &Err(Broken::Reset), true);
            panic_here();
        }
        let Ok(result) = arrived.await else {
            return std::future::pending().await;
        };
        clock.goes_on().await;
        // A process that stood still finds the answer and its own timeout together, and may believe the timeout.
        let in_time = server == Server::Cluster || began.elapsed() < Limits::VENDOR.timeout;
        if !self.hand_over(process, fate, &result, in_time) {
            return std::future::pending().await;
        }
        result
    }

    /// An answer arrives. False if whoever asked is dead.
    fn hand_over(&self, process: Process, fate: Fate, result: &Result<Answer, Broken>, in_time: bool) -> bool {
        let mut state = self.lock();
        if !state.is_alive(process) {
            return false;
        }
        let status = match result {
            Ok(Answer::Whole(response) | Answer::Other(response)) => Some(response.status().as_u16()),
            Ok(Answer::Stream(_)) => Some(200),
            Err(_) => None,
        };
        state.record(What::Answered {
            ordinal: fate.ordinal,
            status,
            intact: in_time && matches!(result, Ok(Answer::Whole(_) | Answer::Stream(_))),
        });
        true
    }

    /// A request leaves. `None` if whoever sends it is dead.
    fn send_off(
        &self,
        process: Process,
        server: Server,
        clock: &Arc<MachineClock>,
        request: &Request<Bytes>,
    ) -> Option<Fate> {
        let wall = ProcessClock(clock.clone()).now();
        let mut state = self.lock();
        if !state.is_alive(process) {
            return None;
        }
        state.last_ordinal += 1;
        let ordinal = state.last_ordinal;
        state.record(What::Asked {
            ordinal,
            process,
            server,
            line: format!("{} {}", request.method(), request.uri()),
            body: request.body().clone(),
            wall,
        });
        let effect = super::servers::effect_of(server, request);
        Some(state.fate(ordinal, server, effect))
    }
}

impl State {
    /// What becomes of a request.
    fn fate(&mut self, ordinal: Ordinal, server: Server, effect: Option<Effect>) -> Fate {
        let kind = effect.and_then(|effect| {
            let count = self.effects.entry(effect).or_insert(0);
            *count += 1;
            let nth = *count;
            let met = |fault: &&crate::faults::Fault| fault.effect == effect && fault.nth == nth;
            self.plan.faults.iter().find(met).map(|fault| fault.kind)
        });
        let draw = self.draw(1, ordinal);
        let mut there = self.latency(draw);
        let back = self.latency(draw >> 20);
        if kind == Some(FaultKind::Late) {
            let seconds = match server {
                // Beyond the operator's timeout, within the lag that an effect may have.
                Server::Vendor | Server::Receiver => 11 + draw % 35,
                Server::Cluster => 6 + draw % 20,
            };
            there = Duration::from_secs(seconds);
        }
        Fate {
            ordinal,
            there,
            back,
            kind,
        }
    }

    /// Whole milliseconds, and at least one: a server that answers at once lets a loop spin for ever at one instant.
    fn latency(&self, draw: u64) -> Duration {
        Duration::from_millis(match self.plan.pace {
            Pace::Ties => 10,
            Pace::Brisk => [1, 2, 5, 10, 40][(draw % 5) as usize],
            Pace::Slow => match draw % 40 {
                0 => 4_000,
                1 | 2 => 1_500,
                3..8 => 400,
                _ => 5 + draw % 60,
            },
        })
    }
}

/// The process panics here: a bug in a pass, as far as its supervisor can tell.
#[expect(clippy::panic, reason = "this is the fault")]
fn panic_here() -> ! {
    panic!("{}", super::PLANNED_PANIC)
}
