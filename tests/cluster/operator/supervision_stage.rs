//! The operator with seams of the test's own, and its probes.

use std::{
    io::{Read as _, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use guest_termination_operator::{
    app::{self, Seams, Telemetry},
    clock::SystemClock,
    cluster::{ClientOptions, connect},
    controller::settings::{Leadership, Settings},
    supervisor::Ended,
    telemetry::{
        audit::AuditLog,
        health::{Health, HealthServer},
        metrics::Metrics,
    },
    transport::{self, HttpService},
};
use http::{Request, Response};
use kube::client::Body;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::stage::{Lines, Stage};

static SEED: AtomicU64 = AtomicU64::new(1_000_000);

/// The operator over seams that a test may have changed. Dropping it is a crash.
pub(super) struct Rig {
    pub(super) stopping: CancellationToken,
    pub(super) task: JoinHandle<Result<(), Ended>>,
    pub(super) audit: Lines,
    pub(super) health: HealthServer,
}

impl Stage<'_> {
    /// Starts the operator; `change` may put something in front of what is real.
    pub(super) async fn rig(&self, settings: Settings, change: impl FnOnce(&mut Seams)) -> Rig {
        let audit = Lines::default();
        self.rig_audited(settings, Box::new(audit.clone()), audit, change).await
    }

    /// The same, with an audit log that is `sink`, through which the lines come to `audit`.
    pub(super) async fn rig_audited(
        &self,
        settings: Settings,
        sink: Box<dyn Write + Send>,
        audit: Lines,
        change: impl FnOnce(&mut Seams),
    ) -> Rig {
        let clock = SystemClock::shared();
        let (metrics, registry) = Metrics::new(&clock);
        let health = Health::new();
        let server = health.serve(([127, 0, 0, 1], 0).into(), Arc::new(registry)).unwrap();
        let options = ClientOptions {
            kubeconfig: Some(self.cluster.kubeconfig(&self.operator, &self.namespace).unwrap()),
            context: None,
        };
        let mut seams = Seams {
            kube: connect(&options, clock.clone()).await.unwrap(),
            http: transport::reqwest::service(),
            // Two operators that follow each other are two processes: nothing that is random is the same in both.
            seed: SEED.fetch_add(1, Ordering::Relaxed),
            clock,
        };
        change(&mut seams);
        let telemetry = Telemetry {
            audit: AuditLog::new(sink),
            metrics,
            health,
        };
        let stopping = CancellationToken::new();
        let token = stopping.clone();
        let task =
            tokio::spawn(async move { app::run(settings, seams, telemetry, Leadership::alone(), "test", token).await });
        Rig {
            stopping,
            task,
            audit,
            health: server,
        }
    }
}

impl Rig {
    /// Code and body of a path of the probes. Blocks the thread that asks.
    pub(super) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.health.local_address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Waits until a probe has that code, and gives its body.
    pub(super) async fn probe_until(&self, path: &str, code: u16) -> String {
        let mut last = (0, String::new());
        for _ in 0..600 {
            last = self.get(path);
            if last.0 == code {
                return last.1;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{path} never answered {code}, but {last:?}");
    }

    /// How the operator ended, which it does by itself.
    pub(super) async fn ends(mut self) -> Ended {
        let ended = tokio::time::timeout(Duration::from_secs(30), &mut self.task).await;
        ended.unwrap().unwrap().unwrap_err()
    }

    /// Stops it as SIGTERM would.
    pub(super) async fn stop(mut self) {
        self.stopping.cancel();
        (&mut self.task).await.unwrap().unwrap();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What becomes of a request to the API server.
pub(super) enum Fate {
    /// It is carried out.
    Pass,
    /// Whoever made it panics after that time.
    Panic(Duration),
    /// Whoever made it waits for ever, whatever its deadline is.
    Hang,
    /// It is carried out after that time.
    Late(Duration),
    /// It is carried out, and its answer is lost.
    Lose,
    /// It is answered by that code and message, and has no effect.
    Refuse(u16, &'static str),
}

/// Something in front of the API server.
pub(super) fn before(
    client: &kube::Client,
    fate: impl Fn(&Request<Body>) -> Fate + Send + Sync + 'static,
) -> kube::Client {
    let namespace = client.default_namespace().to_owned();
    let (client, fate) = (client.clone(), Arc::new(fate));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, fate) = (client.clone(), fate.clone());
        async move {
            match fate(&request) {
                Fate::Pass => client.send(request).await,
                Fate::Panic(delay) => {
                    tokio::time::sleep(delay).await;
                    panic!("a canary in the API server's way")
                }
                Fate::Hang => std::future::pending().await,
                Fate::Late(delay) => {
                    tokio::time::sleep(delay).await;
                    client.send(request).await
                }
                Fate::Lose => {
                    client.send(request).await?;
                    Ok(Response::builder().status(504).body(Body::empty()).unwrap())
                }
                Fate::Refuse(code, message) => {
                    let status = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure",
                        "message": message, "code": code});
                    let body = Body::from(status.to_string().into_bytes());
                    Ok(Response::builder().status(code).body(body).unwrap())
                }
            }
        }
    });
    kube::Client::new(service, namespace)
}

/// Something in front of the vendor and the webhook endpoints: `before` is asked before a request leaves and `after` when
/// it was answered; each of them may panic.
pub(super) fn around(
    http: &HttpService,
    before: impl Fn(&Request<Bytes>) + Send + Sync + 'static,
    after: impl Fn(&Request<Bytes>) + Send + Sync + 'static,
) -> HttpService {
    let (http, before, after) = (http.clone(), Arc::new(before), Arc::new(after));
    HttpService::new(tower::service_fn(move |request: Request<Bytes>| {
        let (http, before, after) = (http.clone(), before.clone(), after.clone());
        async move {
            before(&request);
            let asked = request.clone();
            let answer = http.oneshot(request).await;
            after(&asked);
            answer
        }
    }))
}
