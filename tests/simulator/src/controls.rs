//! The control API in process: what scripts the simulator and reads its books.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::{
    Client, EndGuest, Fault, FaultSpec, Guest, GuestBatch, GuestSpec, Ledger, LedgerFilter, Occurrence, Outage,
    RevokeTokens, Settings, Summary, WaitFor, WebhookEndpoint,
};
use crate::receiver::Endpoint;
use crate::sessions::{Now, Session};
use crate::state::State;

/// Why a control was refused.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The request makes no sense; the text says why.
    #[error("{0}")]
    Invalid(String),
    /// There is no such guest or fault.
    #[error("not known: {0}")]
    Unknown(String),
}

/// Scripts a simulator and reads its books, from anywhere and as often as wanted; the HTTP control API calls the same.
#[derive(Clone)]
pub struct Controls {
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    /// Something in the books changed.
    changed: Notify,
    started: Instant,
    stop: CancellationToken,
}

impl Controls {
    pub(crate) fn new(state: State, stop: CancellationToken) -> Self {
        let inner = Inner {
            state: Mutex::new(state),
            changed: Notify::new(),
            started: Instant::now(),
            stop,
        };
        Self { inner: Arc::new(inner) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            instant: Instant::now(),
            wall: Timestamp::now(),
        }
    }

    /// Milliseconds since the start.
    pub(crate) fn millis(&self, now: Now) -> u64 {
        now.instant.saturating_duration_since(self.inner.started).as_millis() as u64
    }

    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.inner.stop
    }

    pub(crate) fn notify(&self) {
        self.inner.changed.notify_waiters();
    }

    /// Creates a guest, or gives one that exists a new script.
    pub fn add_guest(&self, spec: GuestSpec) {
        let now = self.now();
        let sessions = &mut self.state().sessions;
        match sessions.get_mut(&spec.id) {
            Some(session) => session.replace(spec, now),
            None => {
                sessions.insert(spec.id.clone(), Session::new(spec, now));
            }
        }
    }

    /// Creates guests, and returns how many.
    pub fn add_guests(&self, batch: GuestBatch) -> usize {
        let series = batch.series.into_iter();
        let numbered = series.flat_map(|series| {
            (0..series.count).map(move |number| GuestSpec::active(format!("{}{number}", series.prefix)))
        });
        batch
            .guests
            .into_iter()
            .chain(numbered)
            .map(|spec| self.add_guest(spec))
            .count()
    }

    /// All guests, by id.
    pub fn guests(&self) -> Vec<Guest> {
        self.state().sessions.values().map(Session::view).collect()
    }

    /// A session ends by itself, without any call.
    pub fn end_guest(&self, end: &EndGuest) -> Result<Guest, ControlError> {
        self.with_session(&end.id, |session, now| session.end(end.leaving, now))
    }

    /// A guest comes back under its id, now; an active session is taken as over.
    pub fn return_guest(&self, id: &str) -> Result<Guest, ControlError> {
        self.with_session(id, Session::come_back)
    }

    fn with_session(&self, id: &str, change: impl FnOnce(&mut Session, Now)) -> Result<Guest, ControlError> {
        let now = self.now();
        let mut state = self.state();
        let session = state
            .sessions
            .get_mut(id)
            .ok_or_else(|| ControlError::Unknown(format!("guest {id:?}")))?;
        change(session, now);
        Ok(session.view())
    }

    /// Adds a client, or changes its secret; tokens that it has stay good.
    pub fn set_client(&self, client: Client) {
        self.state().clients.insert(client.id, client.secret);
    }

    /// Revokes tokens, and returns how many: later calls with them are answered 401.
    pub fn revoke_tokens(&self, which: &RevokeTokens) -> usize {
        let mut state = self.state();
        let before = state.tokens.len();
        state.tokens.retain(|_, token| {
            which.client.as_ref().is_some_and(|client| *client != token.client)
                || which.token.as_ref().is_some_and(|id| *id != token.id)
        });
        before - state.tokens.len()
    }

    /// What holds for the whole vendor.
    pub fn settings(&self) -> Settings {
        self.state().settings.clone()
    }

    /// Replaces what holds for the whole vendor, from the next call on.
    pub fn set_settings(&self, settings: Settings) {
        self.state().settings = settings;
    }

    /// Adds a webhook endpoint, or replaces its secrets. Refuses a secret that is no base64.
    pub fn set_webhook(&self, endpoint: &WebhookEndpoint) -> Result<(), ControlError> {
        let verifier = Endpoint::new(endpoint)?;
        self.state().endpoints.insert(endpoint.name.clone(), verifier);
        Ok(())
    }

    /// Registers a fault, and returns its id. Refuses what could not be sent.
    pub fn add_fault(&self, fault: FaultSpec) -> Result<u64, ControlError> {
        self.state().faults.add(fault)
    }

    /// The registered faults with their hits, in order.
    pub fn faults(&self) -> Vec<Fault> {
        self.state().faults.list()
    }

    /// Removes a fault.
    pub fn remove_fault(&self, id: u64) -> Result<(), ControlError> {
        if self.state().faults.remove(id) {
            Ok(())
        } else {
            Err(ControlError::Unknown(format!("fault {id}")))
        }
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// What is down.
    pub fn outage(&self) -> Outage {
        self.state().outage
    }

    /// Sets what is down; the default: nothing.
    pub fn set_outage(&self, outage: Outage) {
        self.state().outage = outage;
    }

    /// The whole ledger.
    pub fn ledger(&self) -> Ledger {
        self.ledger_of(&LedgerFilter::default())
    }

    /// The part of the ledger that the filter wants.
    pub fn ledger_of(&self, filter: &LedgerFilter) -> Ledger {
        self.state().book.read(filter)
    }

    /// The ledger in numbers.
    pub fn summary(&self) -> Summary {
        self.state().book.summary()
    }

    /// Forgets what was seen; sequence numbers and clocks go on.
    pub fn reset_ledger(&self) {
        self.state().book.reset();
    }

    /// Waits until a call had its moment; `None` if the time is over first.
    pub async fn wait_for(&self, wait: &WaitFor) -> Option<Occurrence> {
        let search = async {
            loop {
                let changed = self.inner.changed.notified();
                tokio::pin!(changed);
                // Registered before looking: a change in between is not missed.
                changed.as_mut().enable();
                let found = self.state().book.find(wait);
                if let Some(found) = found {
                    return found;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_millis(wait.timeout_ms), search)
            .await
            .ok()
    }
}
