//! The begin of a term of leading.
//!
//! A standby follows the watches and does nothing else, so what it knows of the objects is as good as a leader's. What it
//! knows of the connections is not: others spent their allowance, met their outages and were asked to pause.

use super::shared::Shared;
use crate::leadership::Lead;

/// A term begins as a process does: with empty buckets, half-open breakers, the vendor's word as the connections' statuses
/// tell it, and nothing in memory but the index, the pauses that this process was asked for, and the guests that it was
/// shown. Objects with an open intent come first.
///
/// The lead is set under the same lock: what a watch tells is either in the index before, or wakes its object after.
pub(super) fn begin(shared: &Shared, lead: Lead) {
    let reading = shared.reading();
    let mut state = shared.lock();
    shared.leadership.set(Some(lead));
    state.queue.start_anew();
    state.outbox.start_anew();
    let names = state
        .connections
        .start_anew(shared.settings.allow_insecure_endpoints, reading);
    for name in names {
        shared.settle_lane(&mut state, &name, reading.monotonic);
    }
    for uid in state.index.start_anew() {
        state.queue.wake(&uid);
        shared.sync_outbox(&mut state, &uid);
    }
}
