//! The loop around kube's watcher.

use std::{fmt, time::Duration};

use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use k8s_openapi::NamespaceResourceScope;
use kube::{
    Api, Resource,
    core::DeserializeGuard,
    runtime::watcher::{self, Event, InitialListStrategy, ListSemantic, watcher},
};
use serde::de::DeserializeOwned;

use super::{Jitter, WatchEvent, WatchSettings, transport};
use crate::{
    clock::SharedClock,
    cluster::{Cluster, call::describe, text::clean},
    telemetry::WatchPulse,
};

/// The first delay after an error; each further one is twice as long.
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// The longest delay: a server that is back is noticed within ten seconds.
const LONGEST_DELAY: Duration = Duration::from_secs(8);
/// Without an error for so long, the next one starts at [`FIRST_DELAY`] again.
const CALM: Duration = Duration::from_secs(60);

type Guarded<K> = DeserializeGuard<K>;
type Events<K> = BoxStream<'static, watcher::Result<Event<Guarded<K>>>>;

/// One watch of one kind.
pub(super) struct Driver<K> {
    api: Api<Guarded<K>>,
    config: watcher::Config,
    events: Events<K>,
    backoff: Backoff,
    delay: Option<Duration>,
    jitter: Jitter,
    clock: SharedClock,
}

impl<K> Driver<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + DeserializeOwned
        + Clone
        + fmt::Debug
        + Send
        + 'static,
{
    pub(super) fn new(cluster: &Cluster, settings: &WatchSettings, jitter: Jitter, pulse: WatchPulse) -> Self {
        let clock = cluster.clock.clone();
        let client = transport::listening(cluster, pulse);
        let api: Api<Guarded<K>> = match settings.namespace.as_deref() {
            None | Some("") => Api::all(client),
            Some(namespace) => Api::namespaced(client, namespace),
        };
        let config = watcher::Config {
            label_selector: settings.label_selector.clone(),
            field_selector: settings.field_selector.clone(),
            timeout: Some(settings.timeout_seconds),
            // A LIST from the server's cache, like a streaming list from version 0, may be older than what was seen.
            list_semantic: ListSemantic::MostRecent,
            initial_list_strategy: InitialListStrategy::ListWatch,
            page_size: Some(settings.page_size),
            bookmarks: true,
        };
        let events = watcher(api.clone(), config.clone()).boxed();
        Self {
            api,
            config,
            events,
            backoff: Backoff::default(),
            delay: None,
            jitter,
            clock,
        }
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = WatchEvent<K>> + Send {
        stream::unfold(self, |mut driver| async move {
            let event = driver.next().await;
            Some((event, driver))
        })
    }

    async fn next(&mut self) -> WatchEvent<K> {
        loop {
            if let Some(delay) = self.delay.take() {
                self.clock.sleep(delay).await;
            }
            match self.events.next().await {
                Some(Ok(event)) => {
                    if matches!(event, Event::Apply(_) | Event::Delete(_)) {
                        self.backoff.reset();
                    }
                    return translate(event);
                }
                Some(Err(error)) => self.interrupted(&error),
                // The watcher is documented to be endless; a new one costs one LIST.
                None => self.relist(),
            }
        }
    }

    fn interrupted(&mut self, error: &watcher::Error) {
        let delay = self.backoff.next(self.clock.monotonic(), (self.jitter)());
        let (during, cause) = match error {
            watcher::Error::InitialListFailed(error) => ("LIST", describe(error)),
            watcher::Error::WatchStartFailed(error) => ("the start of the watch", describe(error)),
            watcher::Error::WatchFailed(error) => ("the watch", describe(error)),
            watcher::Error::WatchError(status) => ("the watch", clean(&status.message, 512)),
            watcher::Error::NoResourceVersion => ("the watch", "an answer without resourceVersion".to_owned()),
        };
        tracing::warn!(kind = %K::kind(&()), during, cause, "watching was interrupted; trying again");
        if needs_listing(error) {
            self.relist();
        }
        self.delay = Some(delay);
    }

    fn relist(&mut self) {
        self.events = watcher(self.api.clone(), self.config.clone()).boxed();
    }
}

/// Whether the watcher, left alone, would go on from a version that the server refuses, or has lost an event.
fn needs_listing(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchStartFailed(kube::Error::Api(status)) => status.code != 429,
        watcher::Error::WatchFailed(error) => !matches!(error, kube::Error::ReadEvents(_)),
        _ => false,
    }
}

fn translate<K: Resource>(event: Event<Guarded<K>>) -> WatchEvent<K> {
    match event {
        Event::Init => WatchEvent::ListBegan,
        Event::InitApply(object) => decoded(object, WatchEvent::Listed),
        Event::InitDone => WatchEvent::ListEnded,
        Event::Apply(object) => decoded(object, WatchEvent::Applied),
        Event::Delete(object) => WatchEvent::Deleted(object.meta().clone().into()),
    }
}

fn decoded<K: Resource>(object: Guarded<K>, event: fn(K) -> WatchEvent<K>) -> WatchEvent<K> {
    match object.0 {
        Ok(mut object) => {
            // Often the largest part of an object, and nothing here reads it.
            object.meta_mut().managed_fields = None;
            event(object)
        }
        Err(invalid) => WatchEvent::Undecodable {
            object: invalid.metadata.into(),
            error: clean(&invalid.error, 512),
        },
    }
}

/// Delays between attempts to list or watch.
#[derive(Debug, Default)]
struct Backoff {
    errors: u32,
    last_error: Option<Duration>,
}

impl Backoff {
    /// The delay after an error at `now`: half of it fixed, half by `jitter`.
    fn next(&mut self, now: Duration, jitter: f64) -> Duration {
        if self.last_error.is_some_and(|last| now.saturating_sub(last) >= CALM) {
            self.errors = 0;
        }
        self.last_error = Some(now);
        let delay = FIRST_DELAY.saturating_mul(1 << self.errors.min(10)).min(LONGEST_DELAY);
        self.errors = self.errors.saturating_add(1);
        delay.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
    }

    fn reset(&mut self) {
        self.errors = 0;
    }
}
