//! Watching a kind: `kube_runtime::watcher`, without its traps.

mod driver;
#[cfg(test)]
mod tests;
mod transport;

use std::{fmt, sync::Arc};

use futures::{Stream, StreamExt};
use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::de::DeserializeOwned;

use super::Cluster;
use crate::telemetry::WatchPulse;

/// How long the server keeps a watch open. A dead one is noticed five seconds later; load balancers drop idle
/// connections without a word.
pub const WATCH_TIMEOUT_SECONDS: u32 = 60;

/// Objects a page of a LIST.
pub const PAGE_SIZE: u32 = 500;

/// Random numbers from 0 to 1, from the generator of the process: a run can be replayed from its seed.
pub type Jitter = Arc<dyn Fn() -> f64 + Send + Sync>;

/// What is watched, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchSettings {
    /// The namespace; `None`, or an empty name as an empty variable gives it, is all.
    pub namespace: Option<String>,
    /// A field selector; `None` selects everything.
    pub field_selector: Option<String>,
    /// A label selector; `None` selects everything.
    pub label_selector: Option<String>,
    /// See [`WATCH_TIMEOUT_SECONDS`].
    pub timeout_seconds: u32,
    /// See [`PAGE_SIZE`].
    pub page_size: u32,
}

impl Default for WatchSettings {
    fn default() -> Self {
        Self {
            namespace: None,
            field_selector: None,
            label_selector: None,
            timeout_seconds: WATCH_TIMEOUT_SECONDS,
            page_size: PAGE_SIZE,
        }
    }
}

/// Which object, and which version of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Identity {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The uid.
    pub uid: String,
    /// The version.
    pub resource_version: String,
}

impl From<ObjectMeta> for Identity {
    fn from(meta: ObjectMeta) -> Self {
        Self {
            namespace: meta.namespace.unwrap_or_default(),
            name: meta.name.unwrap_or_default(),
            uid: meta.uid.unwrap_or_default(),
            resource_version: meta.resource_version.unwrap_or_default(),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.namespace, self.name)
    }
}

/// What a watch has to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum WatchEvent<K> {
    /// A listing begins. It can begin again before it ended: what was listed so far does not count then.
    ListBegan,
    /// One object of the listing.
    Listed(K),
    /// The listing is complete: an object that is known and was neither [`Listed`](Self::Listed) nor
    /// [`Undecodable`](Self::Undecodable) since it began has left the selection.
    ListEnded,
    /// The object was created or changed.
    Applied(K),
    /// The object was deleted or has left the selection.
    ///
    /// The event's object would be the *old* content under the *new* resourceVersion, which a write would be accepted
    /// with: so the content is not handed out.
    Deleted(Identity),
    /// An object that does not fit the types of this version. It exists; it is never acted on.
    Undecodable {
        /// Which one. The uid can be empty.
        object: Identity,
        /// Where it does not fit, without control characters, cut.
        error: String,
    },
}

impl Cluster {
    /// Watches a kind for ever. Interruptions are logged and bridged; managed fields are taken away.
    ///
    /// What `kube_runtime::watcher` leaves open, and how it is closed here:
    ///
    /// * An HTTP 410 at the *start* of a watch repeats for ever on the same version, and so does a version that a
    ///   restored server has not reached: any refusal at the start lists anew.
    /// * Its backoff is reset by the `Init` that precedes each LIST, so it never grows while LISTs fail, and draws its
    ///   own random numbers. Here a delay grows until a watch brings an object, or no error came for a minute.
    /// * A watch that ends cleanly right after its start is started again at once: starts are a second apart.
    /// * An event that cannot be parsed is skipped and the version moves past it: the kind is listed anew.
    ///
    /// `pulse.heard` is marked on each successful answer and on each frame of a watch, bookmarks included: it is older
    /// than the watch timeout and a few seconds only if the server is silent. `pulse.tried` is marked on each request and
    /// on whatever comes of it, too: it is older than that only if this watch does not go round.
    pub fn watch<K>(
        &self,
        settings: &WatchSettings,
        jitter: Jitter,
        pulse: WatchPulse,
    ) -> impl Stream<Item = WatchEvent<K>> + Send + use<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + fmt::Debug
            + Send
            + 'static,
    {
        driver::Driver::new(self, settings, jitter, pulse).into_stream().boxed()
    }
}
