use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
};

use super::*;
use crate::{clock::SystemClock, telemetry::metrics::Metrics};

fn serve(health: &Health) -> HealthServer {
    let (_, registry) = Metrics::new(&SystemClock::shared());
    health.serve(([127, 0, 0, 1], 0).into(), Arc::new(registry)).unwrap()
}

fn fetch(server: &HealthServer, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.local_address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let code = head.split(' ').nth(1).unwrap().parse().unwrap();
    (code, body.to_owned())
}

#[test]
fn is_alive_and_not_ready_before_anything_else_is_up() {
    let server = serve(&Health::new());
    assert_eq!(fetch(&server, "/livez"), (200, "ok\n".to_owned()));
    assert_eq!(fetch(&server, "/readyz").0, 503);
    assert_eq!(fetch(&server, "/other").0, 404);
}

#[test]
fn is_ready_when_every_check_is() {
    let health = Health::new();
    let server = serve(&health);
    let watches = health.readiness("watches");
    let kinds = health.readiness("kinds");
    watches.ready();
    assert_eq!(
        fetch(&server, "/readyz"),
        (
            503,
            "[+]watches ok\n[-]kinds failed: not yet\ncheck failed\n".to_owned()
        )
    );
    kinds.ready();
    assert_eq!(fetch(&server, "/readyz"), (200, "ok\n".to_owned()));
    assert_eq!(
        fetch(&server, "/readyz?verbose"),
        (200, "[+]watches ok\n[+]kinds ok\ncheck passed\n".to_owned())
    );
    kinds.not_ready("the cluster does not serve GuestTermination");
    let (code, body) = fetch(&server, "/readyz");
    assert!(
        code == 503 && body.contains("[-]kinds failed: the cluster does not serve GuestTermination"),
        "{body}"
    );
    assert_eq!(fetch(&server, "/livez").0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_stops_going_round_fails_its_check() {
    let heard = LastHeard::new(SystemClock::shared());
    let check = heard_within(heard.clone(), Duration::from_secs(30));
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(check(), Ok(()));
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(check(), Err("nothing heard for 31 s, more than 30 s".to_owned()));
    heard.mark();
    assert_eq!(check(), Ok(()));
}

#[test]
fn answers_while_the_main_runtime_is_blocked() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let health = Health::new();
    let blocked = Arc::new(AtomicBool::new(false));
    let seen = blocked.clone();
    health.liveness_check("runtime", move || match seen.load(Ordering::SeqCst) {
        true => Err("blocked".to_owned()),
        false => Ok(()),
    });
    let server = runtime.block_on(async { serve(&health) });
    runtime.block_on(async {
        blocked.store(true, Ordering::SeqCst);
        // A blocking call inside the runtime: nothing else of it runs now.
        assert_eq!(
            fetch(&server, "/livez"),
            (503, "[-]runtime failed: blocked\ncheck failed\n".to_owned())
        );
    });
}

#[test]
fn gives_metrics_in_a_format_that_says_its_name() {
    let server = serve(&Health::new());
    let (code, body) = fetch(&server, "/metrics");
    assert_eq!(code, 200);
    assert!(
        body.contains("guest_termination_in_flight 0\n") && body.ends_with("# EOF\n"),
        "{body}"
    );
}

#[test]
fn an_address_in_use_says_what_to_do_and_a_dropped_server_frees_it() {
    let server = serve(&Health::new());
    let address = server.local_address();
    let (_, registry) = Metrics::new(&SystemClock::shared());
    let registry = Arc::new(registry);
    let error = Health::new().serve(address, registry.clone()).err().unwrap();
    assert!(error.to_string().contains("--health-address"), "{error}");
    // A probe that keeps its connection open does not keep the server.
    let _kept = TcpStream::connect(address).unwrap();
    drop(server);
    assert!(Health::new().serve(address, registry).is_ok());
}

#[tokio::test]
async fn a_server_that_ends_says_so() {
    let ends = |future: futures::future::BoxFuture<'static, ()>| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (thread, ended) = on_own_thread(runtime, future).unwrap();
        HealthServer {
            local_address: ([127, 0, 0, 1], 1).into(),
            stop: None,
            thread: Some(thread),
            ended,
        }
    };
    let mut panicked = ends(Box::pin(async { panic!("canary") }));
    let ended = panicked.ended().await.to_string();
    assert!(
        ended.starts_with("the health server ended: it panicked") && !ended.contains("canary"),
        "{ended}"
    );
    let mut returned = ends(Box::pin(async {}));
    assert_eq!(returned.ended().await, Ended::new("the health server", How::Returned));
    let mut serving = serve(&Health::new());
    let waited = tokio::time::timeout(Duration::from_millis(200), serving.ended()).await;
    assert!(waited.is_err());
}
