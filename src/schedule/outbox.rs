//! Webhooks that wait for their endpoints: a slow endpoint holds up neither other endpoints nor terminations.

use std::{collections::BTreeMap, sync::Arc};

use super::{Moment, Uid, timers::Timers};

/// One webhook of one object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivery {
    /// The object.
    pub uid: Uid,
    /// The webhook's name.
    pub webhook: Arc<str>,
}

/// An endpoint: a connection's uid and a webhook's name.
pub type Endpoint = (Arc<str>, Arc<str>);

/// Deliveries, due at a time or waiting for their endpoint.
#[derive(Debug)]
pub struct Outbox {
    per_endpoint: usize,
    timers: Timers<Delivery>,
    endpoints: BTreeMap<Delivery, Endpoint>,
    /// By endpoint, in the order they came, by ticket: leaving from the middle costs no more than from the front.
    waiting: BTreeMap<Endpoint, BTreeMap<u64, Delivery>>,
    queued: BTreeMap<Delivery, u64>,
    tickets: u64,
    running: BTreeMap<Delivery, Endpoint>,
    busy: BTreeMap<Endpoint, usize>,
    last: Option<Endpoint>,
}

impl Outbox {
    /// An empty outbox that makes at most so many tries at one endpoint at the same time.
    pub fn new(per_endpoint: usize) -> Self {
        Self {
            per_endpoint,
            timers: Timers::default(),
            endpoints: BTreeMap::new(),
            waiting: BTreeMap::new(),
            queued: BTreeMap::new(),
            tickets: 0,
            running: BTreeMap::new(),
            busy: BTreeMap::new(),
            last: None,
        }
    }

    /// As if it were new: nothing waits. Tries under way go on.
    pub fn start_anew(&mut self) {
        *self = Self {
            running: std::mem::take(&mut self.running),
            busy: std::mem::take(&mut self.busy),
            ..Self::new(self.per_endpoint)
        };
    }

    /// Wants a try at a moment. One that is under way or queued stays as it is.
    pub fn offer(&mut self, delivery: Delivery, endpoint: Endpoint, due: Moment) {
        if !self.running.contains_key(&delivery) && !self.queued.contains_key(&delivery) {
            self.endpoints.insert(delivery.clone(), endpoint);
            self.timers.set(delivery, due);
        }
    }

    /// The object is gone or settled.
    pub fn forget(&mut self, delivery: &Delivery) {
        self.timers.cancel(delivery);
        if let Some(endpoint) = self.endpoints.remove(delivery)
            && let Some(ticket) = self.queued.remove(delivery)
            && let Some(queue) = self.waiting.get_mut(&endpoint)
        {
            queue.remove(&ticket);
            if queue.is_empty() {
                self.waiting.remove(&endpoint);
            }
        }
    }

    /// The next delivery to be tried at `now`, round robin over the endpoints.
    pub fn next(&mut self, now: Moment) -> Option<Delivery> {
        while let Some(delivery) = self.timers.pop(now) {
            if let Some(endpoint) = self.endpoints.get(&delivery) {
                self.tickets += 1;
                self.queued.insert(delivery.clone(), self.tickets);
                let line = self.waiting.entry(endpoint.clone()).or_default();
                line.insert(self.tickets, delivery);
            }
        }
        let free = |endpoint: &&Endpoint| self.busy.get(*endpoint).is_none_or(|busy| *busy < self.per_endpoint);
        let after = self
            .last
            .clone()
            .map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let behind = self
            .waiting
            .range((after, std::ops::Bound::Unbounded))
            .map(|(endpoint, _)| endpoint);
        let endpoint = behind.chain(self.waiting.keys()).find(free)?.clone();
        let queue = self.waiting.get_mut(&endpoint)?;
        let (_, delivery) = queue.pop_first()?;
        if queue.is_empty() {
            self.waiting.remove(&endpoint);
        }
        self.queued.remove(&delivery);
        self.endpoints.remove(&delivery);
        *self.busy.entry(endpoint.clone()).or_default() += 1;
        self.running.insert(delivery.clone(), endpoint.clone());
        self.last = Some(endpoint);
        Some(delivery)
    }

    /// A try is over. Gives back where it went.
    pub fn done(&mut self, delivery: &Delivery) -> Option<Endpoint> {
        let endpoint = self.running.remove(delivery)?;
        if let Some(busy) = self.busy.get_mut(&endpoint) {
            *busy -= 1;
            if *busy == 0 {
                self.busy.remove(&endpoint);
            }
        }
        Some(endpoint)
    }

    /// When [`Outbox::next`] will have a delivery, if nothing else happens before.
    pub fn next_due(&self, now: Moment) -> Option<Moment> {
        let free = |endpoint: &Endpoint| self.busy.get(endpoint).is_none_or(|busy| *busy < self.per_endpoint);
        if self.waiting.keys().any(free) {
            Some(now)
        } else {
            self.timers.next_due()
        }
    }

    /// Deliveries that wait, and tries under way.
    #[cfg(test)]
    fn counts(&self) -> (usize, usize) {
        (self.timers.len() + self.queued.len(), self.running.len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn delivery(uid: &str) -> Delivery {
        Delivery {
            uid: uid.into(),
            webhook: "analytics".into(),
        }
    }

    fn endpoint(name: &str) -> Endpoint {
        ("connection".into(), name.into())
    }

    fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_slow_endpoint_holds_up_no_other() {
        let mut outbox = Outbox::new(2);
        for index in 0..5 {
            outbox.offer(delivery(&format!("slow{index}")), endpoint("a-slow"), at(0));
        }
        outbox.offer(delivery("quick"), endpoint("b-quick"), at(0));
        let started: Vec<_> = std::iter::from_fn(|| outbox.next(at(0)))
            .map(|next| next.uid.to_string())
            .collect();
        assert_eq!(started, ["slow0", "quick", "slow1"]);
        assert_eq!(outbox.next_due(at(0)), None);
        outbox.done(&delivery("slow0"));
        assert_eq!(outbox.next_due(at(0)), Some(at(0)));
        assert_eq!(outbox.next(at(0)), Some(delivery("slow2")));
    }

    #[test]
    fn a_delivery_is_tried_once_at_a_time_and_not_before_it_is_due() {
        let mut outbox = Outbox::new(2);
        outbox.offer(delivery("a"), endpoint("e"), at(5));
        outbox.offer(delivery("a"), endpoint("e"), at(5));
        assert_eq!(outbox.next(at(4)), None);
        assert_eq!(outbox.next_due(at(4)), Some(at(5)));
        assert_eq!(outbox.next(at(5)), Some(delivery("a")));
        outbox.offer(delivery("a"), endpoint("e"), at(5));
        assert_eq!(outbox.next(at(5)), None);
        outbox.done(&delivery("a"));
        outbox.offer(delivery("a"), endpoint("e"), at(5));
        assert_eq!(outbox.next(at(5)), Some(delivery("a")));
    }

    #[test]
    fn one_that_starts_anew_still_knows_what_is_under_way() {
        let mut outbox = Outbox::new(1);
        outbox.offer(delivery("a"), endpoint("e"), at(0));
        outbox.next(at(0)).unwrap();
        outbox.offer(delivery("b"), endpoint("e"), at(0));
        outbox.start_anew();
        assert_eq!(outbox.counts(), (0, 1));
        outbox.offer(delivery("b"), endpoint("e"), at(0));
        assert_eq!(outbox.next(at(0)), None, "the endpoint is busy");
        assert_eq!(outbox.done(&delivery("a")), Some(endpoint("e")));
        assert_eq!(outbox.next(at(0)), Some(delivery("b")));
    }

    #[test]
    fn what_is_forgotten_leaves_nothing_behind() {
        let mut outbox = Outbox::new(1);
        outbox.offer(delivery("a"), endpoint("e"), at(0));
        outbox.offer(delivery("b"), endpoint("e"), at(0));
        outbox.next(at(0)).unwrap();
        outbox.forget(&delivery("b"));
        outbox.done(&delivery("a"));
        assert_eq!(outbox.counts(), (0, 0));
        assert!(outbox.waiting.is_empty() && outbox.endpoints.is_empty() && outbox.busy.is_empty());
    }
}
