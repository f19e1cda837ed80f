//! Leading, or standing by: the loop that carries out what the election decides.
//!
//! The core ([`crate::leadership`]) says what to do with the Lease; here it is done, and what follows from it: a term
//! begins, goes on or is over. Losing the lease is not the process's end: it stands by, warm, in the same process. That is
//! safe because nobody asks this loop for leave: each look, intent and call asks the clocks ([`Leadership::term`]), and what
//! a term began cannot be begun again in another.
//!
//! [`Leadership::term`]: super::settings::Leadership::term

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::coordination::v1::Lease;
use tokio_util::sync::CancellationToken;

use super::{settings::Election, shared::Shared, term};
use crate::{
    cluster::{LeaseWrite, Notice, NoticeKind, Regarding},
    leadership::elector::{Elector, Found, Step, Written},
    schedule::Moment,
};

/// How long the release of the lease may take when the operator stops.
const RELEASE: Duration = Duration::from_secs(3);

/// How long the same trouble with the Lease is not told again.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// The pause before the release is tried again.
const AGAIN: Duration = Duration::from_millis(100);

/// Takes part in the election from the moment that `known` says that everything is listed, until the operator has stopped
/// and `drained` says that nothing of it is under way any more. Then it releases the lease, so that another replica need not
/// wait.
pub async fn run(shared: Arc<Shared>, known: CancellationToken, drained: CancellationToken) {
    tokio::select! {
        biased;
        () = drained.cancelled() => return,
        () = known.cancelled() => {}
    }
    let Some(election) = shared.leadership.election().cloned() else {
        shared.metrics.leading(true);
        drained.cancelled().await;
        return;
    };
    let Election { namespace, name, spans } = election;
    tracing::info!(namespace, lease = name, identity = shared.holder, "standing by");
    let elector = Elector::new(spans, shared.holder.clone(), namespace.clone(), name.clone());
    let mut candidate = Candidate {
        shared: &shared,
        elector,
        namespace,
        name,
        term: None,
        trouble: None,
        holder: String::new(),
    };
    loop {
        let stopping = shared.stopping.is_cancelled();
        candidate.take_stock();
        if stopping && candidate.term.is_none() {
            break;
        }
        tokio::select! {
            biased;
            () = drained.cancelled() => break,
            () = shared.stopping.cancelled(), if !stopping => {}
            () = candidate.step() => {}
        }
    }
    drained.cancelled().await;
    tokio::select! {
        biased;
        () = candidate.release() => {}
        () = shared.clock.sleep(RELEASE) => tracing::warn!("the lease could not be released; it lapses"),
    }
}

struct Candidate<'a> {
    shared: &'a Arc<Shared>,
    elector: Elector,
    namespace: String,
    name: String,
    /// The term that was begun and not ended.
    term: Option<u64>,
    /// What went wrong last, and when that was told: the same is not logged twice a second.
    trouble: Option<(String, Moment)>,
    /// Who held the Lease when it was last looked at.
    holder: String,
}

impl Candidate<'_> {
    /// One step of the election. It may be dropped: a write whose answer nobody waits for is found by a read.
    async fn step(&mut self) {
        let shared = self.shared;
        let began = shared.reading();
        let step = self.elector.next(began);
        let patience = self.elector.patience(began);
        let late = || format!("no answer within {} ms", patience.as_millis());
        match step {
            Step::Wait(pause) => shared.clock.sleep(pause).await,
            Step::Read => {
                let read = tokio::select! {
                    biased;
                    read = shared.cluster.get::<Lease>(&self.namespace, &self.name) => read.map_err(|error| error.to_string()),
                    () = shared.clock.sleep(patience) => Err(late()),
                };
                let found = match read {
                    Ok(Some(lease)) => Found::Lease(Box::new(lease)),
                    Ok(None) => Found::Absent,
                    Err(why) => {
                        self.complain(why);
                        Found::Failed
                    }
                };
                self.elector.read(found, shared.reading(), shared.chance.share());
            }
            Step::Create(_) | Step::Replace(_) => {
                let write = async {
                    match &step {
                        Step::Create(lease) => shared.cluster.create_lease(lease).await,
                        Step::Replace(lease) => shared.cluster.replace_lease(lease).await,
                        Step::Wait(_) | Step::Read => LeaseWrite::Overtaken,
                    }
                };
                let write = tokio::select! {
                    biased;
                    write = write => write,
                    () = shared.clock.sleep(patience) => LeaseWrite::Failed(late()),
                };
                let written = match write {
                    LeaseWrite::Stored(lease) => Written::Stored(lease),
                    LeaseWrite::Overtaken => Written::Overtaken,
                    LeaseWrite::Failed(why) => {
                        self.complain(why);
                        Written::Failed
                    }
                };
                self.elector
                    .wrote(written, began, shared.reading(), shared.chance.share());
            }
        }
    }

    fn complain(&mut self, why: String) {
        let now = self.shared.moment();
        let known = |(told, at): &(String, Moment)| *told == why && now < *at + TELL_AGAIN;
        if !self.trouble.as_ref().is_some_and(known) {
            tracing::warn!(
                namespace = self.namespace,
                lease = self.name,
                why,
                "the lease could not be read or written; it is tried again"
            );
            self.trouble = Some((why, now));
        }
    }

    /// Lets everybody know how the election stands.
    fn take_stock(&mut self) {
        if self.term.is_some() && self.shared.term() != self.term {
            // Somebody was denied the lead: a clock was set, or the process stood still.
            self.elector.resign();
        }
        let lead = self.elector.lead(self.shared.reading());
        let term = lead.map(|lead| lead.term);
        if self.term.is_some() && self.term != term {
            self.shared.leadership.set(None);
            self.shared.metrics.leading(false);
            tracing::warn!(
                term = self.term,
                "no longer leading; standing by. What is under way comes to its end"
            );
        }
        match lead {
            Some(lead) if self.term != term => {
                term::begin(self.shared, lead);
                tracing::info!(term, "leading");
                self.shared.metrics.leading(true);
                self.announce();
            }
            lead => self.shared.leadership.set(lead),
        }
        if self.term != term {
            self.term = term;
            self.shared.work.notify_one();
            self.shared.upkeep.notify_one();
        }
        let holder = self.elector.holder();
        if holder != self.holder {
            self.holder = holder.to_owned();
            if holder != self.shared.holder && !holder.is_empty() {
                tracing::info!(holder, "another replica leads");
            }
        }
    }

    /// The Event that client-go writes, beside the renewals: it is best effort.
    fn announce(&self) {
        let Some(lease) = self.elector.lease() else { return };
        let notice = Notice {
            regarding: Regarding::of(lease),
            kind: NoticeKind::Normal,
            reason: "LeaderElection".to_owned(),
            action: "LeaderElection".to_owned(),
            note: format!("{} became leader", self.shared.holder),
            discriminator: format!(
                "{}/{:?}",
                self.shared.holder,
                self.elector.lead(self.shared.reading()).map(|lead| lead.term)
            ),
        };
        self.shared.publish([notice]);
    }

    /// Releases the lease, if this process holds it.
    async fn release(mut self) {
        self.shared.leadership.set(None);
        // Who does not lead may hold it all the same, by a write whose answer the stop did not wait for.
        let mut sure = self.term.is_some();
        loop {
            if sure {
                let Some(lease) = self.elector.release(self.shared.reading()) else {
                    return;
                };
                if let LeaseWrite::Stored(_) = self.shared.cluster.replace_lease(&lease).await {
                    tracing::info!("the lease is released");
                    return;
                }
                // A renewal may have been under way.
                self.shared.clock.sleep(AGAIN).await;
            }
            let read = self.shared.cluster.get::<Lease>(&self.namespace, &self.name).await;
            sure = read.is_ok();
            match read {
                Ok(found) => {
                    let found = found.map_or(Found::Absent, |lease| Found::Lease(Box::new(lease)));
                    let share = self.shared.chance.share();
                    self.elector.read(found, self.shared.reading(), share);
                }
                Err(_) => self.shared.clock.sleep(AGAIN).await,
            }
        }
    }
}
