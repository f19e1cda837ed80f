//! A vendor with sessions that live more than once, and calls whose effect may lag.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;

/// What the vendor knows of one guest.
#[derive(Clone, Debug)]
pub(super) struct Vendor {
    /// The guest's life, counted: a guest may return under the same id.
    pub(super) incarnation: u32,
    /// The session of that life is active.
    pub(super) active: bool,
    /// The lives that our calls ended.
    pub(super) ended_by_us: BTreeSet<u32>,
    /// Calls that were taken and take effect later.
    lagging: Vec<Timestamp>,
}

impl Vendor {
    pub(super) fn new() -> Self {
        Self {
            incarnation: 1,
            active: true,
            ended_by_us: BTreeSet::new(),
            lagging: Vec::new(),
        }
    }

    /// What lags and is due takes effect.
    pub(super) fn pass_to(&mut self, now: Timestamp) {
        let due = self.lagging.iter().any(|at| *at <= now);
        self.lagging.retain(|at| *at > now);
        if due {
            self.end_by_us();
        }
    }

    pub(super) fn end_by_us(&mut self) {
        if std::mem::take(&mut self.active) {
            self.ended_by_us.insert(self.incarnation);
        }
    }

    /// A call takes effect at that instant.
    pub(super) fn end_at(&mut self, at: Timestamp) {
        self.lagging.push(at);
    }

    /// The session ends without us.
    pub(super) fn end_by_others(&mut self) {
        self.active = false;
    }

    /// The guest comes back.
    pub(super) fn come_back(&mut self) {
        if !self.active {
            self.active = true;
            self.incarnation += 1;
        }
    }

    /// Calls of ours had an effect, or may have one yet.
    pub(super) fn may_be_ours(&self) -> bool {
        !self.ended_by_us.is_empty() || !self.lagging.is_empty()
    }
}
