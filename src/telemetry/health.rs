//! `/livez`, `/readyz` and `/metrics` on one port, up before anything else.
//!
//! The server has a thread and a runtime of its own: when the main runtime is blocked the probes still answer, and
//! liveness says so.

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::{
    Router,
    extract::{RawQuery, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;

use super::LastHeard;
use crate::supervisor::{Ended, How};

/// The content type of the OpenMetrics text format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type Test = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

#[derive(Clone)]
struct Check {
    name: &'static str,
    test: Test,
}

#[derive(Default)]
struct Checks {
    readiness: Mutex<Vec<Check>>,
    liveness: Mutex<Vec<Check>>,
}

/// What the probes look at. Cheap to clone; clones share.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<Checks>,
}

impl Health {
    /// No check yet: alive, and not ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a named readiness check that is set by hand. Not ready until [`Readiness::ready`] is called.
    pub fn readiness(&self, name: &'static str) -> Readiness {
        let readiness = Readiness {
            state: Arc::new(Mutex::new(Err("not yet".to_owned()))),
        };
        let seen = readiness.clone();
        self.readiness_check(name, move || seen.get());
        readiness
    }

    /// Adds a named readiness check that is asked at each probe. It must not block; the error says what is wrong.
    pub fn readiness_check(&self, name: &'static str, test: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        push(&self.checks.readiness, name, test);
    }

    /// Adds a named liveness check that is asked at each probe. It must not block, and must fail only if a restart
    /// helps: a dependency that is down is none.
    pub fn liveness_check(&self, name: &'static str, test: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        push(&self.checks.liveness, name, test);
    }

    /// Binds `address` and answers from a thread of its own until the server is dropped. Port 0 takes a free one.
    pub fn serve(&self, address: SocketAddr, registry: Arc<Registry>) -> Result<HealthServer, ServeError> {
        let bind = |source| ServeError::Bind { address, source };
        let listener = TcpListener::bind(address).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let local_address = listener.local_addr().map_err(bind)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ServeError::Thread)?;
        let served = Served {
            checks: Arc::clone(&self.checks),
            registry,
        };
        let router = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .with_state(served);
        let (stop, stopped) = oneshot::channel::<()>();
        let server = async move {
            let listener = match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => listener,
                Err(error) => {
                    tracing::error!(%error, "the health server cannot listen");
                    return;
                }
            };
            tokio::select! {
                biased;
                _ = stopped => {}
                result = axum::serve(listener, router) => {
                    tracing::error!(?result, "the health server ended");
                }
            }
        };
        let (thread, ended) = on_own_thread(runtime, server).map_err(ServeError::Thread)?;
        Ok(HealthServer {
            local_address,
            stop: Some(stop),
            thread: Some(thread),
            ended,
        })
    }
}

/// Drives a future on a thread of its own, and says how that ended.
fn on_own_thread(
    runtime: tokio::runtime::Runtime,
    future: impl Future<Output = ()> + Send + 'static,
) -> io::Result<(JoinHandle<()>, oneshot::Receiver<How>)> {
    let (tell, ended) = oneshot::channel();
    let thread = thread::Builder::new().name("health".to_owned()).spawn(move || {
        let result = catch_unwind(AssertUnwindSafe(|| runtime.block_on(future)));
        // Connections that are kept alive by their clients hold nothing up.
        runtime.shutdown_background();
        let _ = tell.send(result.map_or(How::Panicked, |()| How::Returned));
    })?;
    Ok((thread, ended))
}

impl fmt::Debug for Health {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Health").finish_non_exhaustive()
    }
}

fn push(checks: &Mutex<Vec<Check>>, name: &'static str, test: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
    let test = Arc::new(test);
    checks
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Check { name, test });
}

/// A check that fails while `heard` is older than `bound`: for a watch that hears nothing, or a runtime that does not
/// go round.
pub fn heard_within(heard: LastHeard, bound: Duration) -> impl Fn() -> Result<(), String> + Send + Sync + 'static {
    move || {
        let age = heard.age();
        if age <= bound {
            return Ok(());
        }
        Err(format!(
            "nothing heard for {} s, more than {} s",
            age.as_secs(),
            bound.as_secs()
        ))
    }
}

/// A readiness check that is set by hand. Cheap to clone; clones share.
#[derive(Clone, Debug)]
pub struct Readiness {
    state: Arc<Mutex<Result<(), String>>>,
}

impl Readiness {
    /// From now on ready.
    pub fn ready(&self) {
        self.set(Ok(()));
    }

    /// From now on not ready, for that reason.
    pub fn not_ready(&self, why: impl Into<String>) {
        self.set(Err(why.into()));
    }

    fn set(&self, state: Result<(), String>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn get(&self) -> Result<(), String> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The health server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be bound.
    #[error(
        "the health address {address} cannot be bound: {source}. Stop what uses it or choose another by --health-address"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Its thread or runtime cannot be started.
    #[error("the health server's thread cannot be started: {0}")]
    Thread(#[source] io::Error),
}

/// A running health server. It stops when it is dropped.
#[derive(Debug)]
pub struct HealthServer {
    local_address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    ended: oneshot::Receiver<How>,
}

impl HealthServer {
    /// Completes when the server has ended by itself: nobody would ever hear of this process again. Cancel safe, and
    /// not to be awaited again afterwards.
    pub async fn ended(&mut self) -> Ended {
        let how = (&mut self.ended).await.unwrap_or(How::Cancelled);
        Ended::new("the health server", how)
    }

    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.local_address
    }
}

impl Drop for HealthServer {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Served {
    checks: Arc<Checks>,
    registry: Arc<Registry>,
}

async fn livez(State(served): State<Served>, RawQuery(query): RawQuery) -> Response {
    probe(&served.checks.liveness, true, query.as_deref())
}

async fn readyz(State(served): State<Served>, RawQuery(query): RawQuery) -> Response {
    probe(&served.checks.readiness, false, query.as_deref())
}

async fn metrics(State(served): State<Served>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &served.registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be encoded\n").into_response(),
    }
}

/// `ok`, or every check with its state: with `?verbose`, and when one fails, in the form of the API server's probes.
fn probe(checks: &Mutex<Vec<Check>>, if_none: bool, query: Option<&str>) -> Response {
    // The checks run without the lock: one that hangs does not hang who adds another.
    let checks = checks.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut passed = if_none || !checks.is_empty();
    let mut lines = String::new();
    for check in checks {
        let result = (check.test)();
        passed &= result.is_ok();
        lines += &match result {
            Ok(()) => format!("[+]{} ok\n", check.name),
            Err(why) => format!("[-]{} failed: {why}\n", check.name),
        };
    }
    let verbose = query.is_some_and(|query| {
        query
            .split('&')
            .any(|key| key == "verbose" || key.starts_with("verbose="))
    });
    match (passed, verbose) {
        (true, false) => (StatusCode::OK, "ok\n".to_owned()),
        (true, true) => (StatusCode::OK, format!("{lines}check passed\n")),
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, format!("{lines}check failed\n")),
    }
    .into_response()
}

#[cfg(test)]
mod tests;
