//! What the watcher's requests go through: it hears every frame, and keeps the starts of watches apart.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::Request;
use http_body_util::BodyExt;
use kube::{Client, client::Body};

use crate::{
    cluster::{Cluster, client::is_watch},
    telemetry::WatchPulse,
};

/// Between the starts of two watches of one watcher.
const START_INTERVAL: Duration = Duration::from_secs(1);

/// A client over `client` for one watcher.
///
/// kube's watcher swallows bookmarks, so only the transport can hear them.
pub(super) fn listening(cluster: &Cluster, pulse: WatchPulse) -> Client {
    let (client, clock, skew) = (cluster.client.clone(), cluster.clock.clone(), cluster.skew.clone());
    let namespace = client.default_namespace().to_owned();
    let next_start = Arc::new(Mutex::new(Duration::ZERO));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, pulse, clock, skew) = (client.clone(), pulse.clone(), clock.clone(), skew.clone());
        let pause = is_watch(&request).then(|| reserve(&next_start, clock.monotonic()));
        async move {
            if let Some(pause) = pause.filter(|pause| !pause.is_zero()) {
                clock.sleep(pause).await;
            }
            pulse.tried.mark();
            let asked = clock.monotonic();
            let response = client.send(request).await.inspect_err(|_| pulse.tried.mark())?;
            let took = clock.monotonic().saturating_sub(asked);
            skew.note(response.headers(), clock.now(), took);
            // The body of a refusal is not news of the cluster.
            let listen = response.status().is_success();
            let mark = move || {
                pulse.tried.mark();
                if listen {
                    pulse.heard.mark();
                }
            };
            mark();
            Ok::<_, kube::Error>(response.map(|body| {
                body.map_frame(move |frame| {
                    mark();
                    frame
                })
            }))
        }
    });
    Client::new(service, namespace)
}

/// Takes the next slot for a start; returns how long it is until then.
fn reserve(next_start: &Mutex<Duration>, now: Duration) -> Duration {
    let mut next = next_start.lock().unwrap_or_else(PoisonError::into_inner);
    let start = now.max(*next);
    *next = start + START_INTERVAL;
    start.saturating_sub(now)
}
