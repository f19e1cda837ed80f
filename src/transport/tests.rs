//! The network service against servers that misbehave, over real sockets.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use rstest::rstest;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::*;
use crate::{clock::SystemClock, termination::answer::Unreachable};

mod tls;

/// A server on a free port that handles each connection by `handle` and ends with the test.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start<H, A>(handle: H) -> Self
    where
        H: Fn(TcpStream) -> A + Send + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            let mut handlers = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                handlers.spawn(handle(stream));
            }
        });
        Self {
            address,
            connections,
            task,
        }
    }

    /// A server that answers every request on a connection with `answer`.
    async fn answering(answer: impl Into<Bytes>) -> Self {
        let answer = answer.into();
        Self::start(move |mut stream| {
            let answer = answer.clone();
            async move {
                while read_head(&mut stream).await.is_some() {
                    stream.write_all(&answer).await.unwrap();
                }
            }
        })
        .await
    }

    fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads a request's head; `None` at the connection's end.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = vec![];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

fn request(url: &str, policy: RequestPolicy) -> Request<Bytes> {
    Request::delete(url)
        .header(header::AUTHORIZATION, HeaderValue::from_static("Bearer secret-token"))
        .extension(policy)
        .body(Bytes::new())
        .unwrap()
}

async fn exchange(url: &str, timeout: Duration) -> Result<Received, CallError> {
    exchange_with(&reqwest::service(), url, timeout, RequestPolicy::default()).await
}

async fn exchange_with(
    service: &HttpService,
    url: &str,
    timeout: Duration,
    policy: RequestPolicy,
) -> Result<Received, CallError> {
    let limits = Limits {
        timeout,
        body_cap: 64 * 1024,
    };
    send(service, SystemClock::shared().as_ref(), request(url, policy), limits).await
}

const PATIENT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn a_request_goes_out_as_it_was_built() {
    let (sender, mut heads) = tokio::sync::mpsc::channel(1);
    let server = Server::start(move |mut stream| {
        let sender = sender.clone();
        async move {
            let head = read_head(&mut stream).await.unwrap();
            sender.send(head).await.unwrap();
            stream
                .write_all(b"HTTP/1.1 204 No Content\r\nX-Request-Id: req-1\r\n\r\n")
                .await
                .unwrap();
        }
    })
    .await;
    let received = exchange(&format!("{}a/b?reason=x%20y&externalRef=%2B", server.url()), PATIENT)
        .await
        .unwrap();
    assert_eq!(
        (received.status, received.body_end),
        (StatusCode::NO_CONTENT, BodyEnd::Complete)
    );
    assert_eq!(received.headers["x-request-id"], "req-1");
    let head = heads.recv().await.unwrap();
    assert!(
        head.starts_with("DELETE /a/b?reason=x%20y&externalRef=%2B HTTP/1.1\r\n"),
        "{head}"
    );
    assert!(head.contains("authorization: Bearer secret-token\r\n"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("accept-encoding"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
}

#[tokio::test]
async fn a_refused_connection_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let error = exchange(&url, PATIENT).await.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Unreachable(Unreachable::Connect));
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_unreachable() {
    let error = exchange("http://name.invalid/", PATIENT).await.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Unreachable(Unreachable::Connect));
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_token_stays() {
    let elsewhere = Server::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    for status in [301, 302, 303, 307, 308] {
        let answer = format!(
            "HTTP/1.1 {status} Moved\r\nLocation: {}\r\nContent-Length: 0\r\n\r\n",
            elsewhere.url()
        );
        let server = Server::answering(answer).await;
        let received = exchange(&server.url(), PATIENT).await.unwrap();
        assert_eq!(received.status.as_u16(), status);
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_server_that_says_nothing_meets_the_deadline() {
    let server = Server::start(|mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let begun = Instant::now();
    let error = exchange(&server.url(), Duration::from_millis(300)).await.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Unanswered(Lost::Timeout));
    assert!(error.duration >= Duration::from_millis(300));
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_body_that_drips_meets_the_deadline_of_the_whole() {
    let server = Server::start(|mut stream| async move {
        read_head(&mut stream).await;
        let mut next: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n";
        while stream.write_all(next).await.is_ok() {
            next = b"x";
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let received = exchange(&server.url(), Duration::from_millis(400)).await.unwrap();
    assert_eq!(received.body_end, BodyEnd::TimedOut);
    assert!(received.duration >= Duration::from_millis(400) && received.duration < Duration::from_secs(5));
}

#[rstest]
#[case::vendor(Limits::VENDOR, 64 * 1024)]
#[case::receiver(Limits::webhook(PATIENT), 8 * 1024)]
#[tokio::test]
async fn a_giant_body_is_not_read_beyond_the_cap(#[case] limits: Limits, #[case] cap: usize) {
    let written = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&written);
    let server = Server::start(move |mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            read_head(&mut stream).await;
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n";
            stream.write_all(head).await.unwrap();
            while stream.write_all(&[b'x'; 65536]).await.is_ok() {
                counted.fetch_add(65536, Ordering::SeqCst);
            }
        }
    })
    .await;
    let request = request(&server.url(), RequestPolicy::default());
    let received = send(&reqwest::service(), SystemClock::shared().as_ref(), request, limits)
        .await
        .unwrap();
    assert_eq!((received.body_end, received.body.len()), (BodyEnd::OverCap, cap));
    // What the sockets' buffers swallowed, far from a gigabyte.
    assert!(written.load(Ordering::SeqCst) < 64 << 20);
}

#[rstest]
#[case("HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n", 65536, BodyEnd::Complete)]
#[case("HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n", 65537, BodyEnd::OverCap)]
#[case("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", 10, BodyEnd::Interrupted)]
#[case(
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n",
    10,
    BodyEnd::Interrupted
)]
#[case("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", 10, BodyEnd::Complete)]
#[tokio::test]
async fn a_body_ends_as_it_ends(#[case] head: &str, #[case] length: usize, #[case] expected: BodyEnd) {
    let answer = Bytes::from([head.as_bytes(), &vec![b'x'; length]].concat());
    let server = Server::start(move |mut stream| {
        let answer = answer.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(&answer).await.unwrap();
        }
    })
    .await;
    let received = exchange(&server.url(), PATIENT).await.unwrap();
    assert_eq!((received.body_end, received.body.len()), (expected, length.min(65536)));
}

#[tokio::test]
async fn nothing_is_decompressed() {
    // `gzip` of an empty text.
    let packed: &[u8] = &[31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        packed.len()
    );
    let server = Server::answering([head.as_bytes(), packed].concat()).await;
    assert_eq!(exchange(&server.url(), PATIENT).await.unwrap().body, packed);
}

#[tokio::test]
async fn a_reset_after_the_request_leaves_it_open_and_repeats_nothing() {
    let server = Server::start(|mut stream| async move {
        read_head(&mut stream).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let error = exchange(&server.url(), PATIENT).await.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Unanswered(Lost::Reset));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn no_http_is_an_answer_that_never_came() {
    let server = Server::answering("220 smtp.example ESMTP\r\n\r\n").await;
    let error = exchange(&server.url(), PATIENT).await.unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Unanswered(Lost::Reset));
}

#[tokio::test]
async fn a_kept_connection_that_dies_under_a_request_is_not_tried_again() {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let server = Server::start(move |mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            for answer in ["HTTP/1.1 204 No Content\r\n\r\n", ""] {
                read_head(&mut stream).await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let service = reqwest::service();
    let first = exchange_with(&service, &server.url(), PATIENT, RequestPolicy::default()).await;
    assert_eq!(first.unwrap().status, StatusCode::NO_CONTENT);
    // The connection goes back to the pool a moment after its answer.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let second = exchange_with(&service, &server.url(), PATIENT, RequestPolicy::default()).await;
    assert_eq!(second.unwrap_err().kind, CallErrorKind::Unanswered(Lost::Reset));
    assert_eq!((requests.load(Ordering::SeqCst), server.connections()), (2, 1));
}

fn guarded(allowed: &[&str]) -> RequestPolicy {
    let allowed = allowed.iter().map(|network| network.parse().unwrap()).collect();
    RequestPolicy {
        ca_bundle: None,
        addresses: Some(Arc::new(AddressPolicy::new(allowed))),
    }
}

#[tokio::test]
async fn a_guarded_request_connects_to_admitted_addresses_alone() {
    let server = Server::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    let service = reqwest::service();
    let port = server.address.port();
    let urls = [
        format!("http://127.0.0.1:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        // A name that resolves to what is not admitted: the check is of the address that would be connected to.
        format!("http://localhost:{port}/"),
    ];
    for url in &urls {
        let error = exchange_with(&service, url, PATIENT, guarded(&[])).await.unwrap_err();
        assert_eq!(error.kind, CallErrorKind::Blocked, "{url}");
    }
    assert_eq!(server.connections(), 0);
    for url in [&urls[0], &urls[2]] {
        let received = exchange_with(&service, url, PATIENT, guarded(&["127.0.0.0/8"]))
            .await
            .unwrap();
        assert_eq!(received.status, StatusCode::NO_CONTENT, "{url}");
    }
    // The policy of one request is not the policy of another on the same service.
    let error = exchange_with(&service, &urls[2], PATIENT, guarded(&[]))
        .await
        .unwrap_err();
    assert_eq!(error.kind, CallErrorKind::Blocked);
}
