//! What stands between the operator and the API server and spoils what passes.
//!
//! The operator speaks plain http to it, it speaks TLS to the API server with the same token: so it sees requests and
//! answers, and can do to a single one what a network does to any.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use control_plane::ControlPlane;
use futures::stream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

type Answer = Response<UnsyncBoxBody<Bytes, Broken>>;

/// The connection breaks here, without another word.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut")]
struct Broken;

/// Which requests a fault is for. All that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// Only this method.
    pub method: Option<Method>,
    /// Only requests whose path and query contain this.
    pub part: &'static str,
    /// Only requests that start a watch, or only those that do not.
    pub watch: Option<bool>,
}

impl Which {
    /// Every request of that method whose path and query contain `part`, watches excepted.
    pub fn call(method: Method, part: &'static str) -> Self {
        Self {
            method: Some(method),
            part,
            watch: Some(false),
        }
    }

    /// Every start of a watch whose path and query contain `part`.
    pub fn watch(part: &'static str) -> Self {
        Self {
            method: None,
            part,
            watch: Some(true),
        }
    }

    fn holds(&self, method: &Method, target: &str) -> bool {
        self.method.as_ref().is_none_or(|wanted| wanted == method)
            && target.contains(self.part)
            && self.watch.is_none_or(|wanted| wanted == is_watch(target))
    }
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It goes through so much later.
    Delay(Duration),
    /// It does not go through: the connection is cut.
    Cut,
    /// It goes through, and the connection is cut instead of the answer.
    CutAfter,
    /// It does not go through: this status with an empty body is answered.
    Refuse(StatusCode),
    /// It does not go through: 429, and a pause of so many seconds is asked for.
    Throttle(u64),
    /// It goes through and is never answered.
    Silence,
    /// The answer that the same request got before, if [`Proxy::remember`] was on then.
    Replay,
    /// The watch ends, cleanly, so long after it began.
    EndWatch(Duration),
}

#[derive(Debug)]
struct Rule {
    which: Which,
    fault: Fault,
    left: Option<usize>,
    hits: usize,
}

/// A rule of a proxy, to ask how often it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(usize);

/// A proxy that listens; dropping it stops it.
pub struct Proxy {
    inner: Arc<Inner>,
    url: String,
    stop: CancellationToken,
    accepting: JoinHandle<()>,
}

struct Inner {
    upstream: String,
    http: reqwest::Client,
    state: Mutex<State>,
    /// What becomes of the watches that are open when it changes.
    fate: watch::Sender<Fate>,
}

/// What becomes of open watches.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// They end cleanly.
    End,
    /// They say nothing any more, and do not end either.
    Silence,
}

#[derive(Default)]
struct State {
    rules: BTreeMap<usize, Rule>,
    next_rule: usize,
    remembers: bool,
    memory: BTreeMap<String, (StatusCode, Option<http::HeaderValue>, Bytes)>,
    watches: usize,
    watch_starts: usize,
}

impl Proxy {
    /// Starts a proxy before this API server.
    pub async fn before(cluster: &ControlPlane) -> anyhow::Result<Self> {
        let authority = reqwest::Certificate::from_pem(cluster.ca().as_bytes())?;
        let http = reqwest::Client::builder()
            .tls_certs_only([authority])
            .no_proxy()
            .http1_only()
            .build()?;
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let inner = Arc::new(Inner {
            upstream: cluster.url().to_owned(),
            http,
            state: Mutex::default(),
            fate: watch::Sender::new(Fate::End),
        });
        let stop = CancellationToken::new();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&inner), stop.clone()));
        Ok(Self {
            inner,
            url,
            stop,
            accepting,
        })
    }

    /// Its own address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on this happens to those requests, so often, or always. The first rule that holds acts, alone.
    pub fn add(&self, which: Which, fault: Fault, times: Option<usize>) -> RuleId {
        let mut state = self.inner.state();
        let id = state.next_rule;
        state.next_rule += 1;
        let rule = Rule {
            which,
            fault,
            left: times,
            hits: 0,
        };
        state.rules.insert(id, rule);
        RuleId(id)
    }

    /// How often a rule acted.
    pub fn hits(&self, rule: RuleId) -> usize {
        self.inner.state().rules.get(&rule.0).map_or(0, |rule| rule.hits)
    }

    /// Ends a rule; its hits can still be asked for.
    pub fn end(&self, rule: RuleId) {
        if let Some(rule) = self.inner.state().rules.get_mut(&rule.0) {
            rule.left = Some(0);
        }
    }

    /// From now on answers to GETs are remembered, or not any more.
    pub fn remember(&self, remembers: bool) {
        self.inner.state().remembers = remembers;
    }

    /// The watches that are open now fall silent for ever: nothing more comes, no end either, as when a load balancer
    /// forgets a connection. Gives how many they are.
    pub fn black_hole(&self) -> usize {
        self.inner.fate.send_replace(Fate::Silence);
        self.inner.state().watches
    }

    /// The watches that are open now end, cleanly.
    pub fn end_watches(&self) {
        self.inner.fate.send_replace(Fate::End);
    }

    /// How many watches were started so far.
    pub fn watch_starts(&self) -> usize {
        self.inner.state().watch_starts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, inner: Arc<Inner>, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(serve(stream, Arc::clone(&inner), stop.clone()));
            }
            // Out of file descriptors, most likely: others may close theirs.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn serve(stream: TcpStream, inner: Arc<Inner>, stop: CancellationToken) {
    // Only speed hangs on it.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let inner = Arc::clone(&inner);
        async move { inner.pass(request).await }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        // A broken connection is the caller's affair, or the fault's.
        _ = connection => {}
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, method: &Method, target: &str) -> Option<Fault> {
        let mut state = self.state();
        let rule = state
            .rules
            .values_mut()
            .find(|rule| rule.left != Some(0) && rule.which.holds(method, target))?;
        rule.hits += 1;
        rule.left = rule.left.map(|left| left - 1);
        Some(rule.fault.clone())
    }

    /// Lets a request pass, as far as its fault lets it. An error cuts the connection.
    async fn pass(self: Arc<Self>, request: Request<Incoming>) -> Result<Answer, Broken> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
        let target = head
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str())
            .to_owned();
        let fault = self.fault(&head.method, &target);
        let mut lasts = None;
        match &fault {
            Some(Fault::Cut) => return Err(Broken),
            Some(Fault::Delay(delay)) => tokio::time::sleep(*delay).await,
            Some(Fault::Refuse(status)) => {
                return Ok(whole(*status, None, Bytes::new()));
            }
            Some(Fault::Throttle(seconds)) => {
                let mut answer = whole(StatusCode::TOO_MANY_REQUESTS, None, Bytes::new());
                answer
                    .headers_mut()
                    .insert(http::header::RETRY_AFTER, http::HeaderValue::from(*seconds));
                return Ok(answer);
            }
            Some(Fault::Replay) => {
                let remembered = self.state().memory.get(&target).cloned();
                if let Some((status, content_type, body)) = remembered {
                    return Ok(whole(status, content_type, body));
                }
            }
            Some(Fault::EndWatch(after)) => lasts = Some(*after),
            Some(Fault::CutAfter | Fault::Silence) | None => {}
        }
        let mut headers = head.headers;
        headers.remove(http::header::HOST);
        // What is remembered must be readable by whoever asks later.
        headers.remove(http::header::ACCEPT_ENCODING);
        let url = format!("{}{target}", self.upstream);
        let question = self.http.request(head.method.clone(), url).headers(headers).body(body);
        let answer = question.send().await.map_err(|_| Broken)?;
        let status = answer.status();
        let content_type = answer.headers().get(http::header::CONTENT_TYPE).cloned();
        if is_watch(&target) && status.is_success() {
            return Ok(self.stream(answer, content_type, lasts));
        }
        let retry_after = answer.headers().get(http::header::RETRY_AFTER).cloned();
        let body = answer.bytes().await.map_err(|_| Broken)?;
        match fault {
            Some(Fault::CutAfter) => return Err(Broken),
            Some(Fault::Silence) => std::future::pending().await,
            _ => {}
        }
        if head.method == Method::GET {
            let mut state = self.state();
            if state.remembers {
                state
                    .memory
                    .insert(target, (status, content_type.clone(), body.clone()));
            }
        }
        let mut answer = whole(status, content_type, body);
        if let Some(retry_after) = retry_after {
            answer.headers_mut().insert(http::header::RETRY_AFTER, retry_after);
        }
        Ok(answer)
    }

    /// Hands a watch on, piece by piece, until it ends, is ended, or falls into a black hole.
    fn stream(
        self: &Arc<Self>,
        answer: reqwest::Response,
        content_type: Option<http::HeaderValue>,
        lasts: Option<Duration>,
    ) -> Answer {
        let status = answer.status();
        let open = Open::new(self);
        let end = lasts.map(|lasts| Instant::now() + lasts);
        let fate = self.fate.subscribe();
        let pieces = stream::unfold((answer, open, fate), move |(mut answer, open, mut fate)| async move {
            let ends = async {
                match end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            let piece = tokio::select! {
                biased;
                _ = fate.changed() => {
                    if matches!(*fate.borrow(), Fate::End) {
                        return None;
                    }
                    std::future::pending().await
                }
                () = ends => return None,
                piece = answer.chunk() => piece,
            };
            match piece {
                Ok(Some(piece)) => Some((Ok(Frame::data(piece)), (answer, open, fate))),
                Ok(None) => None,
                Err(_) => Some((Err(Broken), (answer, open, fate))),
            }
        });
        let mut response = Response::new(StreamBody::new(pieces).boxed_unsync());
        *response.status_mut() = status;
        if let Some(content_type) = content_type {
            response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
        }
        response
    }
}

/// A watch that is open, counted.
struct Open(Arc<Inner>);

impl Open {
    fn new(inner: &Arc<Inner>) -> Self {
        let mut state = inner.state();
        state.watches += 1;
        state.watch_starts += 1;
        drop(state);
        Self(Arc::clone(inner))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.state().watches -= 1;
    }
}

fn whole(status: StatusCode, content_type: Option<http::HeaderValue>, body: Bytes) -> Answer {
    let full: Full<Bytes> = Full::new(body);
    let mut response = Response::new(full.map_err(|never: Infallible| match never {}).boxed_unsync());
    *response.status_mut() = status;
    if let Some(content_type) = content_type {
        response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    }
    response
}

fn is_watch(target: &str) -> bool {
    target.contains("watch=true") || target.contains("watch=1")
}
