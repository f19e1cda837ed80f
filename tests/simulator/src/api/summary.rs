//! The ledger in numbers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Ledger, Operation};

/// `GET /_control/summary`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Calls per operation.
    pub calls: BTreeMap<Operation, u64>,
    /// Effective terminations per guest and incarnation.
    pub effective: BTreeMap<String, BTreeMap<u32, u64>>,
    /// All effective terminations.
    pub effective_total: u64,
    /// The most that any one incarnation was ended: 1, or the vendor itself is wrong.
    pub max_effective_per_incarnation: u64,
    /// Webhooks per `webhook-id` (`""` where there was none).
    pub webhooks: BTreeMap<String, WebhookSummary>,
    /// Webhook calls that were verified.
    pub webhooks_verified: u64,
    /// Webhook calls that reached the receiver and were not verified.
    pub webhooks_unverified: u64,
    /// The most calls about one guest that were open at the same time, per guest.
    pub max_concurrent: BTreeMap<String, u32>,
    /// The most calls about guests that arrived in any 60 s.
    pub max_calls_in_60s: u64,
    /// The same per client, for the calls that showed a token that the vendor knows.
    pub max_calls_in_60s_by_client: BTreeMap<String, u64>,
}

/// The calls with one `webhook-id`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSummary {
    /// Calls.
    pub calls: u64,
    /// Calls that the receiver took.
    pub taken: u64,
    /// Calls that were verified.
    pub verified: u64,
    /// Different bodies.
    pub distinct_bodies: u64,
    /// The endpoints that they went to.
    pub endpoints: BTreeSet<String>,
}

impl Summary {
    /// Adds up a ledger. The concurrency is counted while calls run, so it is handed in.
    pub(crate) fn of(ledger: &Ledger, max_concurrent: BTreeMap<String, u32>) -> Self {
        let mut summary = Self {
            max_concurrent,
            ..Self::default()
        };
        let mut arrivals = Vec::new();
        let mut by_client: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for call in &ledger.calls {
            *summary.calls.entry(call.operation).or_default() += 1;
            if call.operation.is_guest_call() {
                arrivals.push(call.at_ms);
                if let Some(client) = &call.client {
                    by_client.entry(client).or_default().push(call.at_ms);
                }
            }
            if let (true, Some(guest), Some(incarnation)) = (call.effective, &call.guest, call.incarnation) {
                *summary
                    .effective
                    .entry(guest.clone())
                    .or_default()
                    .entry(incarnation)
                    .or_default() += 1;
                summary.effective_total += 1;
            }
        }
        summary.max_effective_per_incarnation = summary
            .effective
            .values()
            .flat_map(BTreeMap::values)
            .copied()
            .max()
            .unwrap_or(0);
        summary.max_calls_in_60s = densest_minute(&arrivals);
        summary.max_calls_in_60s_by_client = by_client
            .into_iter()
            .map(|(client, at)| (client.to_owned(), densest_minute(&at)))
            .collect();
        summary.add_webhooks(ledger);
        summary
    }

    fn add_webhooks(&mut self, ledger: &Ledger) {
        let mut bodies: BTreeMap<&str, BTreeSet<&[u8]>> = BTreeMap::new();
        for call in &ledger.webhooks {
            *self.calls.entry(Operation::Webhook).or_default() += 1;
            self.webhooks_verified += u64::from(call.verified);
            self.webhooks_unverified += u64::from(call.refusal.is_some());
            let id = call.id.as_deref().unwrap_or_default();
            bodies.entry(id).or_default().insert(&call.body);
            let entry = self.webhooks.entry(id.to_owned()).or_default();
            entry.calls += 1;
            entry.taken += u64::from(call.taken);
            entry.verified += u64::from(call.verified);
            entry.endpoints.insert(call.endpoint.clone());
        }
        for (id, bodies) in bodies {
            if let Some(entry) = self.webhooks.get_mut(id) {
                entry.distinct_bodies = bodies.len() as u64;
            }
        }
    }
}

/// The most arrivals in any window of 60 s, of ascending arrival times in ms.
fn densest_minute(arrivals: &[u64]) -> u64 {
    let mut first = 0;
    let mut most = 0;
    for (last, at) in arrivals.iter().enumerate() {
        while arrivals[first] + 60_000 <= *at {
            first += 1;
        }
        most = most.max(last - first + 1);
    }
    most as u64
}

#[cfg(test)]
mod tests {
    use super::densest_minute;

    #[test]
    fn the_window_is_sixty_seconds_and_slides() {
        assert_eq!(densest_minute(&[]), 0);
        assert_eq!(densest_minute(&[0, 59_999]), 2);
        assert_eq!(densest_minute(&[0, 60_000]), 1);
        assert_eq!(densest_minute(&[0, 30_000, 60_000, 89_999, 90_000]), 3);
    }
}
