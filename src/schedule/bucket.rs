//! The allowance of one connection: a token bucket that no window of 60 seconds can overdraw.

use std::time::Duration;

use super::Moment;

/// The window that the vendor counts calls in.
const WINDOW: Duration = Duration::from_secs(60);

/// What a connection may ask of the vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls in any 60 seconds.
    pub requests_per_minute: u32,
    /// Passes at the same time.
    pub max_in_flight: u32,
}

impl Limits {
    /// The smallest allowance that leaves anything to refill with.
    pub const SMALLEST: u32 = 5;

    /// Tokens that may be spent at once.
    pub fn burst(self) -> u32 {
        (self.requests_per_minute / 6).clamp(2, 10)
    }

    /// Passes at the same time, cut to what the allowance bears.
    pub fn in_flight(self) -> u32 {
        self.max_in_flight.min((self.requests_per_minute / 6).max(1)).max(1)
    }

    /// Tokens that come back in a minute: what burst and in-flight calls, a former leader's included, leave of the
    /// allowance (a slot holds two tokens).
    pub fn refill(self) -> u32 {
        self.requests_per_minute
            .saturating_sub(self.burst() + 2 * self.in_flight())
    }
}

/// A token bucket. A new one is empty: a process that starts does not know what the one before it spent.
#[derive(Clone, Debug)]
pub struct Bucket {
    limits: Limits,
    tokens: f64,
    at: Moment,
}

impl Bucket {
    /// An empty bucket.
    pub fn new(limits: Limits, now: Moment) -> Self {
        Self {
            limits,
            tokens: 0.0,
            at: now,
        }
    }

    /// Changes the limits; what was saved is kept up to the new burst.
    pub fn limit(&mut self, limits: Limits, now: Moment) {
        self.fill(now);
        self.limits = limits;
        self.tokens = self.tokens.min(f64::from(limits.burst()));
    }

    /// The limits in force.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Takes tokens, all or none.
    pub fn take(&mut self, tokens: u32, now: Moment) -> bool {
        self.fill(now);
        let wanted = f64::from(tokens);
        // Filling by fractions leaves rounding errors far below a call.
        let enough = self.tokens + 1e-6 >= wanted;
        if enough {
            self.tokens = (self.tokens - wanted).max(0.0);
        }
        enough
    }

    /// Gives back tokens that were not spent.
    pub fn give_back(&mut self, tokens: u32, now: Moment) {
        self.fill(now);
        self.tokens = (self.tokens + f64::from(tokens)).min(f64::from(self.limits.burst()));
    }

    /// When that many tokens will be there, or nothing if they never will.
    pub fn ready_at(&self, tokens: u32, now: Moment) -> Option<Moment> {
        let mut copy = self.clone();
        copy.fill(now);
        let missing = f64::from(tokens) - copy.tokens - 1e-6;
        if missing <= 0.0 {
            return Some(now);
        }
        let refill = f64::from(self.limits.refill());
        if refill == 0.0 || tokens > self.limits.burst() {
            return None;
        }
        // A microsecond more, so that the rounded moment is never just before the token.
        Some(now + WINDOW.mul_f64(missing / refill) + Duration::from_micros(1))
    }

    fn fill(&mut self, now: Moment) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        let rate = f64::from(self.limits.refill()) / WINDOW.as_secs_f64();
        self.tokens = (self.tokens + passed * rate).min(f64::from(self.limits.burst()));
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_limits_of_the_documentation() {
        assert_eq!(
            (
                limits(240, 5).burst(),
                limits(240, 5).in_flight(),
                limits(240, 5).refill()
            ),
            (10, 5, 220)
        );
        assert_eq!(
            (limits(5, 5).burst(), limits(5, 5).in_flight(), limits(5, 5).refill()),
            (2, 1, 1)
        );
        assert_eq!(limits(30, 100).in_flight(), 5);
    }

    #[test]
    fn a_new_bucket_is_empty_and_says_when_it_is_not() {
        let mut bucket = Bucket::new(limits(240, 5), Duration::ZERO);
        assert!(!bucket.take(2, Duration::ZERO));
        let ready = bucket.ready_at(2, Duration::ZERO).unwrap();
        assert!(!bucket.take(2, ready - Duration::from_millis(1)));
        assert!(bucket.take(2, ready));
    }

    fn limits(requests_per_minute: u32, max_in_flight: u32) -> Limits {
        Limits {
            requests_per_minute,
            max_in_flight,
        }
    }

    /// To within a hundred thousandth of a second, and never too early.
    #[test]
    fn it_says_when_so_many_tokens_will_be_there() {
        let tenth = Duration::from_micros(10);
        let now = Duration::from_secs(60);
        let mut bucket = Bucket::new(limits(240, 5), Duration::ZERO);
        assert_eq!(bucket.ready_at(10, now), Some(now));
        assert_eq!(bucket.ready_at(11, now), None, "more than may be saved");
        assert!(bucket.take(7, now));
        assert_eq!(bucket.ready_at(3, now), Some(now), "the last one counts");
        for tokens in 4..=10 {
            let ready = bucket.ready_at(tokens, now).unwrap();
            let exact = now + WINDOW.mul_f64(f64::from(tokens - 3) / 220.0);
            assert!(ready.abs_diff(exact) < tenth, "{ready:?} instead of {exact:?}");
            assert!(!bucket.clone().take(tokens, ready - tenth));
            assert!(bucket.clone().take(tokens, ready));
        }
        assert_eq!(
            Bucket::new(limits(4, 5), now).ready_at(1, now),
            None,
            "nothing refills it"
        );
    }

    #[test]
    fn new_limits_keep_what_was_saved_up_to_the_new_burst() {
        let now = Duration::from_secs(60);
        let mut bucket = Bucket::new(limits(240, 5), Duration::ZERO);
        bucket.limit(limits(24, 5), now);
        assert_eq!(bucket.limits(), limits(24, 5));
        assert!(!bucket.take(5, now));
        assert!(bucket.take(4, now));
        assert!(!bucket.take(1, now));

        let second = Duration::from_secs(1);
        let mut bucket = Bucket::new(limits(240, 5), Duration::ZERO);
        bucket.limit(limits(24, 5), second);
        assert!(bucket.take(3, second), "that second still counts by the old limits");
        bucket.limit(limits(240, 5), second);
        assert!(!bucket.take(1, second), "and no longer one by the new ones");
    }

    #[test]
    fn what_comes_back_may_be_spent_again() {
        let now = Duration::from_secs(60);
        let mut bucket = Bucket::new(limits(240, 5), Duration::ZERO);
        assert!(bucket.take(10, now));
        bucket.give_back(2, now);
        assert!(!bucket.take(3, now));
        assert!(bucket.take(2, now));
    }

    proptest! {
        /// However greedily it is asked, no window of 60 s sees more than the allowance, even if a former leader's
        /// in-flight calls (two for each slot) fall into it.
        #[test]
        fn no_window_holds_more_than_the_allowance(
            requests_per_minute in Limits::SMALLEST..400,
            max_in_flight in 1u32..40,
            steps in proptest::collection::vec(0u64..3_000, 1..400),
        ) {
            let limits = Limits { requests_per_minute, max_in_flight };
            let mut bucket = Bucket::new(limits, Duration::ZERO);
            let mut now = Duration::ZERO;
            let mut calls = Vec::new();
            for step in steps {
                now += Duration::from_millis(step);
                while bucket.take(1, now) {
                    calls.push(now);
                }
            }
            let former = (2 * limits.in_flight()) as usize;
            for (index, start) in calls.iter().enumerate() {
                let inside = calls[index..].iter().take_while(|at| **at < *start + WINDOW).count();
                prop_assert!(inside + former <= requests_per_minute as usize, "{inside} + {former} > {requests_per_minute}");
            }
        }

        /// Tokens that come back never make more than the burst.
        #[test]
        fn giving_back_never_overfills(back in 0u32..100) {
            let limits = Limits { requests_per_minute: 240, max_in_flight: 5 };
            let mut bucket = Bucket::new(limits, Duration::ZERO);
            bucket.give_back(back, Duration::ZERO);
            prop_assert!(!bucket.take(limits.burst() + 1, Duration::ZERO));
        }
    }
}
