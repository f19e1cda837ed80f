//! One try to deliver one webhook, and making what came of it durable.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    connections::Destination,
    index::{Entry, Holds},
    record::Recorded,
    secrets::Lack,
    shared::Shared,
};
use crate::{
    api::{GenesysConnection, WebhookDelivery, WebhookEndpoint, WebhookState},
    schedule::{Moment, outbox::Delivery},
    telemetry::metrics::WebhookResult,
    termination::{
        evolve::evolve,
        fact::{Fact, WebhookAnswer},
        request::{Invalid, Request},
    },
    webhook::{deliver, payload},
};

/// The pause of a delivery whose connection is missing or suspended; a change of the connection ends it earlier.
const DEPENDENCY_PAUSE: Duration = Duration::from_secs(30);

/// Writes in a row that others overtook, after which a delivery makes room for others.
const MAX_WRITES: usize = 32;
/// The pause after those.
const OVERTAKEN_PAUSE: Duration = Duration::from_secs(1);

/// What is to happen with a delivery after a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It is over, or the object's status says when the next try is.
    Nothing,
    /// Another try at that moment.
    Again(Moment),
}

impl Shared {
    /// Tries one delivery, if its time has come.
    pub(super) async fn try_delivery(&self, delivery: &Delivery) -> After {
        let Some((entry, webhook, request)) = self.delivery(delivery) else {
            return After::Nothing;
        };
        let Ok(request) = request else {
            // A finished object's spec cannot be edited; a definition that was replaced let it.
            return After::Again(self.moment() + DEPENDENCY_PAUSE);
        };
        let fact = match entry.memory.tried.get(&webhook.name) {
            // Tried already: what came of it is not in the status yet.
            Some(fact) => fact.clone(),
            None => match self.answer(&entry, &webhook).await {
                Ok(answer) => self.remember_try(delivery, answer),
                Err(at) => return After::Again(at),
            },
        };
        self.record_delivery(delivery, &request, &fact).await
    }

    /// What comes of a try now, or when there will be one.
    async fn answer(&self, entry: &Entry, webhook: &WebhookDelivery) -> Result<WebhookAnswer, Moment> {
        let status = entry.object.status.as_ref();
        let pinned = status.and_then(|status| status.connection.as_ref());
        let destination = self
            .lock()
            .connections
            .destination(&entry.connection(), pinned, &webhook.name);
        // Where there is nothing left to be tried, there is nothing to wait for.
        let waits = !matches!(destination, Destination::Removed | Destination::Replaced);
        let reading = self.reading();
        let told = |due| entry.memory.moments.webhook(&webhook.name, due, reading);
        let due = webhook.next_attempt_time.as_ref().map(|due| told(due.0));
        if let Some(due) = due.filter(|due| waits && *due > reading.wall) {
            return Err(self.moment_of(due));
        }
        let later = self.moment() + DEPENDENCY_PAUSE;
        match destination {
            Destination::Waits => Err(later),
            // A uid never returns, so the entry is gone with its connection. A listing may be old; a read is not.
            Destination::Replaced if self.is_replaced(entry).await => Ok(WebhookAnswer::Removed),
            Destination::Replaced => Err(later),
            Destination::Removed => Ok(WebhookAnswer::Removed),
            Destination::Endpoint(endpoint) => self.send(entry, webhook, &endpoint).await.ok_or(later),
        }
    }

    /// Whether the connection that the object's status names is gone, and another one has its name.
    async fn is_replaced(&self, entry: &Entry) -> bool {
        let (namespace, name) = entry.connection();
        let status = entry.object.status.as_ref();
        let pinned = status
            .and_then(|status| status.connection.as_ref())
            .map(|pinned| pinned.uid.as_str());
        let found = self.cluster.get::<GenesysConnection>(&namespace, &name).await;
        found.is_ok_and(|found| found.is_some_and(|found| found.metadata.uid.as_deref() != pinned))
    }

    /// What came of a try is remembered until it is in the status.
    fn remember_try(&self, delivery: &Delivery, answer: WebhookAnswer) -> Fact {
        let name = delivery.webhook.to_string();
        let fact = Fact::WebhookTried {
            name: name.clone(),
            answer,
            jitter: self.chance.share(),
        };
        if let Some(entry) = self.lock().index.get_mut(&delivery.uid) {
            entry.memory.tried.insert(name, fact.clone());
        }
        fact
    }

    /// A try panicked. If that was before anything came of it, it has failed; what came of it is written later.
    pub(super) async fn record_panic(&self, delivery: &Delivery) -> After {
        let Some((entry, webhook, Ok(request))) = self.delivery(delivery) else {
            return After::Nothing;
        };
        if entry.memory.tried.contains_key(&webhook.name) {
            return After::Again(self.rest_of_a_panic());
        }
        let fact = self.remember_try(delivery, WebhookAnswer::Panicked);
        self.record_delivery(delivery, &request, &fact).await
    }

    /// When something that panicked is tried again.
    pub(super) fn rest_of_a_panic(&self) -> Moment {
        self.moment() + self.settings.policy.backoff(u32::MAX, 1.0, None)
    }

    /// The object and the pending webhook, if there still are such.
    fn delivery(&self, delivery: &Delivery) -> Option<(Entry, WebhookDelivery, Result<Arc<Request>, Invalid>)> {
        let entry = self.lock().index.get(&delivery.uid)?.clone();
        let status = entry.object.status.as_ref().filter(|status| status.is_finished())?;
        let pending =
            |webhook: &&WebhookDelivery| webhook.name == *delivery.webhook && webhook.state == WebhookState::Pending;
        let webhook = status.webhooks.iter().find(pending)?.clone();
        let request = entry.request.clone();
        Some((entry, webhook, request))
    }

    /// Sends the message. Nothing if our own side kept it from being tried: that uses nothing up.
    async fn send(
        &self,
        entry: &Entry,
        webhook: &WebhookDelivery,
        endpoint: &WebhookEndpoint,
    ) -> Option<WebhookAnswer> {
        let failed = |why: String| WebhookAnswer::Failed {
            status: None,
            retry_after: None,
            why,
        };
        let namespace = entry.object.metadata.namespace.as_deref().unwrap_or_default();
        let keys = match self.signing_keys(namespace, &endpoint.signing_secret_ref).await {
            Ok(keys) => keys,
            Err(Lack::Missing(why)) => return Some(failed(why)),
            Err(Lack::Unknown(why)) => {
                tracing::warn!(
                    namespace,
                    why,
                    "a webhook's signing key could not be read; its try waits"
                );
                return None;
            }
        };
        let body = match payload::body(&entry.object, webhook.event, webhook.format) {
            Ok(body) => body,
            Err(error) => return Some(failed(error.to_string())),
        };
        let message = deliver::Delivery {
            url: endpoint.url.clone(),
            body: Bytes::from(body),
            format: webhook.format,
            id: webhook.message_id.clone(),
            keys,
            timeout: Duration::from_secs(u64::try_from(endpoint.timeout_seconds).unwrap_or(15).max(1)),
        };
        // The keys may have been long in coming. What has left is recorded, whoever leads then.
        self.term()?;
        let attempted = deliver::deliver(&self.http, self.clock.as_ref(), &self.settings.guard, &message).await;
        let (result, answer) = match attempted {
            deliver::Attempted::Delivered { status } => (WebhookResult::Accepted, WebhookAnswer::Accepted { status }),
            deliver::Attempted::Gone => (WebhookResult::Gone, WebhookAnswer::Gone),
            deliver::Attempted::Refused(refusal) => (WebhookResult::Blocked, failed(refusal.to_string())),
            deliver::Attempted::Retry {
                status,
                retry_after,
                reason,
            } => {
                let result = if status.is_some() {
                    WebhookResult::Refused
                } else {
                    WebhookResult::Unanswered
                };
                (
                    result,
                    WebhookAnswer::Failed {
                        status,
                        retry_after,
                        why: reason,
                    },
                )
            }
        };
        self.metrics.webhook_try(result);
        Some(answer)
    }

    /// Writes what came of a try. Until that is durable it is remembered, and the next turn of the delivery only writes:
    /// the endpoint has the message, and the books must say so.
    async fn record_delivery(&self, delivery: &Delivery, request: &Request, fact: &Fact) -> After {
        for _ in 0..MAX_WRITES {
            let Some((entry, webhook, _)) = self.delivery(delivery) else {
                return After::Nothing;
            };
            if !entry.memory.tried.contains_key(&webhook.name) {
                // A write that was not answered has turned out to be stored.
                return After::Nothing;
            }
            let next = evolve(request, &entry.status(), fact, self.now(), &self.settings.policy);
            if entry.deleted {
                return self.keep_in_memory(delivery, next);
            }
            let recorded = if entry.doubtful {
                self.read_again(&delivery.uid, &entry.object).await
            } else {
                self.write_status(&delivery.uid, &entry.object, next, Holds::Try(webhook.name))
                    .await
            };
            match recorded {
                Recorded::Written => return After::Nothing,
                Recorded::Overtaken | Recorded::Gone => {}
                Recorded::NotWritten(pause) | Recorded::Unknown(pause) => {
                    return After::Again(self.moment() + pause);
                }
            }
        }
        After::Again(self.moment() + OVERTAKEN_PAUSE)
    }

    /// The object was deleted: what is left of its deliveries lives in memory, for a bounded time.
    fn keep_in_memory(&self, delivery: &Delivery, next: crate::api::GuestTerminationStatus) -> After {
        let pending = next.webhooks.iter().find(|webhook| webhook.name == *delivery.webhook);
        let due = pending
            .filter(|webhook| webhook.state == WebhookState::Pending)
            .and_then(|webhook| webhook.next_attempt_time.clone());
        let reading = self.reading();
        if let Some(entry) = self.lock().index.get_mut(&delivery.uid) {
            entry.keep(next, reading);
            entry.memory.tried.remove(delivery.webhook.as_ref());
        }
        due.map_or(After::Nothing, |due| After::Again(self.moment_of(due.0)))
    }
}
