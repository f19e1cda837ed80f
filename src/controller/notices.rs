//! Events on their way to the API server: beside the passes, so that a slow Event API holds up nobody.
//!
//! Best effort, and bounded: where too many wait, the newest is left out. The Events of one object are published one after
//! the other, in the order of what they tell.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::FutureExt;
use tokio::{sync::Notify, task::JoinSet};

use super::shared::Shared;
use crate::{
    cluster::{Identity, Notice},
    telemetry::metrics::EventResult,
};

/// Events that may wait.
const WAITING: usize = 4096;
/// Events that are written at the same time.
const AT_A_TIME: usize = 16;

/// Whose Events are kept in order: the object, whatever its version.
type Whose = (String, String, String);

/// Events that wait to be published.
#[derive(Debug, Default)]
pub struct Notices {
    state: Mutex<State>,
    changed: Notify,
    idle: Notify,
}

#[derive(Debug, Default)]
struct State {
    lines: BTreeMap<Whose, VecDeque<Notice>>,
    /// Those with a line of whose Events none is under way, in the order they came.
    turns: VecDeque<Whose>,
    busy: BTreeSet<Whose>,
    waiting: usize,
}

impl Notices {
    /// Takes in an Event to be. Says whether there was room.
    pub fn push(&self, notice: Notice) -> bool {
        let mut state = self.lock();
        if state.waiting >= WAITING {
            return false;
        }
        state.waiting += 1;
        let whose = whose(&notice.regarding.object);
        let line = state.lines.entry(whose.clone()).or_default();
        line.push_back(notice);
        if line.len() == 1 && !state.busy.contains(&whose) {
            state.turns.push_back(whose);
        }
        drop(state);
        self.changed.notify_one();
        true
    }

    /// The next Event whose turn it is.
    fn next(&self) -> Option<(Whose, Notice)> {
        let mut state = self.lock();
        let whose = state.turns.pop_front()?;
        let line = state.lines.get_mut(&whose)?;
        let notice = line.pop_front()?;
        if line.is_empty() {
            state.lines.remove(&whose);
        }
        state.waiting -= 1;
        state.busy.insert(whose.clone());
        Some((whose, notice))
    }

    /// An Event was published, or not.
    fn done(&self, whose: &Whose) {
        let mut state = self.lock();
        state.busy.remove(whose);
        if state.lines.contains_key(whose) {
            state.turns.push_back(whose.clone());
        }
        if state.is_idle() {
            self.idle.notify_waiters();
        }
    }

    /// Completes when no Event waits or is under way.
    pub async fn all_published(&self) {
        loop {
            let idle = self.idle.notified();
            if self.lock().is_idle() {
                return;
            }
            idle.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting == 0 && self.busy.is_empty()
    }
}

fn whose(object: &Identity) -> Whose {
    (object.namespace.clone(), object.name.clone(), object.uid.clone())
}

/// Publishes Events for ever.
pub async fn run(shared: Arc<Shared>) {
    let mut jobs = JoinSet::new();
    loop {
        while jobs.len() < AT_A_TIME
            && let Some((whose, notice)) = shared.notices.next()
        {
            let publisher = shared.publisher.clone();
            jobs.spawn(async move {
                // A bug in here costs this Event and no other one.
                let _ = AssertUnwindSafe(publisher.publish(&notice)).catch_unwind().await;
                whose
            });
        }
        tokio::select! {
            biased;
            Some(done) = jobs.join_next(), if !jobs.is_empty() => {
                if let Ok(whose) = done {
                    shared.notices.done(&whose);
                }
            }
            () = shared.notices.changed.notified() => {}
        }
    }
}

impl Shared {
    /// Publishes Events, some time soon.
    pub(super) fn publish(&self, notices: impl IntoIterator<Item = Notice>) {
        for notice in notices {
            if !self.notices.push(notice) {
                self.metrics.event(EventResult::LeftOut);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{NoticeKind, Regarding};

    fn notice(name: &str, reason: &str) -> Notice {
        Notice {
            regarding: Regarding {
                api_version: "guestops.dev/v1alpha1".to_owned(),
                kind: "GuestTermination".to_owned(),
                object: Identity {
                    namespace: "care".to_owned(),
                    name: name.to_owned(),
                    ..Identity::default()
                },
            },
            kind: NoticeKind::Normal,
            reason: reason.to_owned(),
            action: "Terminate".to_owned(),
            note: String::new(),
            discriminator: String::new(),
        }
    }

    fn next(notices: &Notices) -> Option<(Whose, String)> {
        notices.next().map(|(whose, notice)| (whose, notice.reason))
    }

    #[test]
    fn one_object_s_events_follow_each_other_and_hold_up_no_other_s() {
        let notices = Notices::default();
        for (name, reason) in [("a", "First"), ("a", "Second"), ("b", "First")] {
            assert!(notices.push(notice(name, reason)));
        }
        let (a, reason) = next(&notices).unwrap();
        assert_eq!((a.1.as_str(), reason.as_str()), ("a", "First"));
        let (b, reason) = next(&notices).unwrap();
        assert_eq!((b.1.as_str(), reason.as_str()), ("b", "First"));
        assert_eq!(next(&notices), None, "the second one waits for the first");
        notices.push(notice("a", "Third"));
        assert_eq!(next(&notices), None);
        notices.done(&a);
        assert_eq!(next(&notices).unwrap().1, "Second");
        notices.done(&b);
        notices.done(&a);
        assert_eq!(next(&notices).unwrap().1, "Third");
        notices.done(&a);
        assert_eq!(next(&notices), None);
    }

    #[test]
    fn what_waits_has_a_bound_and_nothing_is_left_behind() {
        let notices = Notices::default();
        for index in 0..WAITING {
            assert!(notices.push(notice(&index.to_string(), "First")));
        }
        assert!(!notices.push(notice("x", "First")));
        while let Some((whose, _)) = next(&notices) {
            notices.done(&whose);
        }
        let state = notices.lock();
        assert!(state.is_idle() && state.lines.is_empty() && state.turns.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_all_is_waited_for() {
        let notices = Arc::new(Notices::default());
        notices.all_published().await;
        notices.push(notice("a", "First"));
        let waits = tokio::spawn({
            let notices = notices.clone();
            async move { notices.all_published().await }
        });
        tokio::task::yield_now().await;
        let (whose, _) = next(&notices).unwrap();
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        notices.done(&whose);
        waits.await.unwrap();
    }
}
