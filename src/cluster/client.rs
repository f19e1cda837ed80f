//! The production client, and the deadlines that every client needs.

use std::{
    fmt,
    path::PathBuf,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::{future::BoxFuture, stream};
use http::{HeaderValue, Request, Response, header::USER_AGENT};
use http_body_util::{BodyExt, BodyStream, StreamBody, combinators::UnsyncBoxBody};
use kube::{
    Client, Config,
    client::{Body, ClientBuilder},
    config::{KubeConfigOptions, Kubeconfig},
};
use tower::{BoxError, Layer, Service};

use crate::clock::SharedClock;

/// How long the head of an answer may take.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// How long the body of an answer may take, a watch's excepted.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a connection may take to be made; shorter than a call's deadline, so that the error names the cause.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// Where the API server is, and as whom to speak to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientOptions {
    /// A kubeconfig file. Unset: `KUBECONFIG`, else the pod's service account, else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig. Unset: its current context.
    pub context: Option<String>,
}

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The kubeconfig is missing or cannot be used.
    #[error("the kubeconfig cannot be used: {0}. Check --kubeconfig, --context and KUBECONFIG")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// The service account of the pod cannot be read.
    #[error("the pod's service account cannot be used: {0}. Check automountServiceAccountToken")]
    InCluster(#[from] kube::config::InClusterError),
    /// The configuration is understood and makes no client, for example because a certificate is broken.
    #[error("the client for the API server cannot be made: {0}")]
    Client(#[from] kube::Error),
}

/// Makes the production client. Nothing is sent yet.
///
/// * kube's own retries are off: they repeat 429, 503 and 504 up to 15 times, for minutes, inside one call, where no
///   deadline, no fence and no drain can see them.
/// * kube's read timeout stays off: it would cut idle watches. [`Deadlines`] bounds what may be bounded.
pub async fn connect(options: &ClientOptions, clock: SharedClock) -> Result<Client, ConnectError> {
    let mut config = load(options).await?;
    config.default_retry = false;
    config.read_timeout = None;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let agent = concat!("guest-termination-operator/", env!("CARGO_PKG_VERSION"));
    config.headers.push((USER_AGENT, HeaderValue::from_static(agent)));
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&Deadlines::new(clock))
        .build())
}

async fn load(options: &ClientOptions) -> Result<Config, ConnectError> {
    let selection = KubeConfigOptions {
        context: options.context.clone(),
        ..KubeConfigOptions::default()
    };
    if let Some(path) = &options.kubeconfig {
        let kubeconfig = Kubeconfig::read_from(path)?;
        return Ok(Config::from_custom_kubeconfig(kubeconfig, &selection).await?);
    }
    let in_pod = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
    if in_pod && options.context.is_none() && std::env::var_os("KUBECONFIG").is_none() {
        return Ok(Config::incluster()?);
    }
    Ok(Config::from_kubeconfig(&selection).await?)
}

/// A client over any service, with the same deadlines as the production client: what a simulation uses.
pub fn with_deadlines<S, B>(service: S, default_namespace: &str, clock: SharedClock) -> Client
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    Client::new(Deadlines::new(clock).layer(service), default_namespace)
}

/// An answer did not come, or not to its end, in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeadlineExceeded {
    /// No head within [`ANSWER_TIMEOUT`].
    #[error("the API server sent no answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Answer,
    /// No end of the body within [`BODY_TIMEOUT`] of its head.
    #[error("the API server did not finish its answer within {} s", BODY_TIMEOUT.as_secs())]
    Body,
}

/// A layer that bounds what kube leaves unbounded.
///
/// * Head: a LIST and the start of a watch have no timeout of their own. One lost answer would stall the watcher, and
///   with it the operator, for ever.
/// * Body: the same for the rest of a LIST. A watch's body is meant to stay open: the server ends it after the
///   `timeoutSeconds` of the request, and the watcher gives it up five seconds later.
///
/// Calls with a shorter deadline of their own put it around the call.
#[derive(Clone)]
pub struct Deadlines {
    clock: SharedClock,
}

impl Deadlines {
    /// The layer, measuring by that clock.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock }
    }
}

impl fmt::Debug for Deadlines {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Deadlines").finish_non_exhaustive()
    }
}

impl<S> Layer<S> for Deadlines {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded {
            inner,
            clock: self.clock.clone(),
        }
    }
}

/// A service under [`Deadlines`].
#[derive(Clone, Debug)]
pub struct Bounded<S> {
    inner: S,
    clock: SharedClock,
}

impl<S, B> Service<Request<Body>> for Bounded<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<UnsyncBoxBody<Bytes, BoxError>>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let watch = is_watch(&request);
        let clock = self.clock.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = tokio::select! {
                biased;
                answer = answer => answer.map_err(Into::into)?,
                () = clock.sleep(ANSWER_TIMEOUT) => return Err(DeadlineExceeded::Answer.into()),
            };
            Ok(response.map(|body| {
                if watch {
                    body.map_err(Into::into).boxed_unsync()
                } else {
                    bounded(body, clock.sleep(BODY_TIMEOUT))
                }
            }))
        })
    }
}

/// Whether the request starts a watch.
pub(super) fn is_watch<B>(request: &Request<B>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

/// `body`, failing once `deadline` completes before its end.
fn bounded<B>(body: B, deadline: BoxFuture<'static, ()>) -> UnsyncBoxBody<Bytes, BoxError>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let frames = Box::pin(BodyStream::new(body));
    let bounded = stream::unfold(Some((frames, deadline)), |state| async move {
        let (mut frames, mut deadline) = state?;
        tokio::select! {
            biased;
            frame = futures::StreamExt::next(&mut frames) => match frame? {
                Ok(frame) => Some((Ok(frame), Some((frames, deadline)))),
                Err(error) => Some((Err(error.into()), None)),
            },
            () = &mut deadline => Some((Err(DeadlineExceeded::Body.into()), None)),
        }
    });
    StreamBody::new(bounded).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use kube::{
        Api,
        api::{ListParams, WatchParams},
    };

    use super::*;
    use crate::{
        api::GuestTermination,
        cluster::testing::{Answer, Then, cluster},
    };

    fn cause(error: &kube::Error) -> Option<DeadlineExceeded> {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = cause {
            if let Some(found) = error.downcast_ref::<DeadlineExceeded>() {
                return Some(*found);
            }
            cause = error.source();
        }
        None
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_without_an_answer_ends() {
        let (cluster, _) = cluster(|_| Answer::Never);
        let started = tokio::time::Instant::now();
        let api: Api<GuestTermination> = Api::all(cluster.client);
        let error = api.list(&ListParams::default()).await.unwrap_err();
        assert_eq!(cause(&error), Some(DeadlineExceeded::Answer), "{error:?}");
        assert_eq!(started.elapsed().as_secs(), ANSWER_TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_whose_body_stops_ends() {
        let (cluster, _) = cluster(|_| Answer::chunks(vec!["{\"kind\":".to_owned()], Then::Silence));
        let started = tokio::time::Instant::now();
        let api: Api<GuestTermination> = Api::all(cluster.client);
        let error = api.list(&ListParams::default()).await.unwrap_err();
        assert!(
            error.to_string().contains("did not finish") || cause(&error).is_some(),
            "{error:?}"
        );
        assert_eq!(started.elapsed().as_secs(), BODY_TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn the_start_of_a_watch_is_bounded_and_its_body_is_not() {
        let (silent, _) = cluster(|_| Answer::Never);
        let api: Api<GuestTermination> = Api::all(silent.client);
        let Err(error) = api.watch(&WatchParams::default(), "1").await else {
            panic!("the watch started");
        };
        assert_eq!(cause(&error), Some(DeadlineExceeded::Answer));

        let (open, _) = cluster(|_| Answer::chunks(Vec::new(), Then::Silence));
        let api: Api<GuestTermination> = Api::all(open.client);
        let watch = api.watch(&WatchParams::default(), "1").await.unwrap();
        let first = tokio::time::timeout(Duration::from_secs(280), Box::pin(watch).as_mut().next()).await;
        assert!(first.is_err(), "an idle watch was cut");
    }

    #[tokio::test]
    async fn a_missing_kubeconfig_says_what_to_check() {
        let options = ClientOptions {
            kubeconfig: Some("/nonexistent/kubeconfig".into()),
            context: None,
        };
        let error = connect(&options, crate::clock::SystemClock::shared())
            .await
            .err()
            .unwrap();
        assert!(error.to_string().contains("--kubeconfig"), "{error}");
    }

    #[test]
    fn a_watch_is_told_by_its_query() {
        let watch = |target: &str| is_watch(&Request::get(target).body(()).unwrap());
        assert!(watch("/a?watch=true&resourceVersion=1") && watch("/a?resourceVersion=1&watch=1"));
        assert!(!watch("/a?limit=500") && !watch("/a") && !watch("/a?labelSelector=watch%3Dtrue"));
    }
}
