//! The breaker of one connection, counted for each operation: reads that work must not hide writes that fail.

use std::time::Duration;

use super::Moment;

/// The vendor operations that a breaker tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// The look at a session.
    Observe,
    /// The terminate call.
    Terminate,
}

/// What an answer says of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It decided something: active, gone, applied, accepted, refused, forbidden.
    Success,
    /// Transient, unknown, suspicious or unclear.
    Failure,
    /// Neither: 401, 429.
    Neither,
    /// An unproven 404: neither, but the vendor's side answers, which ends the half-open start.
    Unproven,
}

/// When a breaker opens and how it probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row, without a success between, that open it.
    pub failures: u32,
    /// The first pause before a probe.
    pub first_probe: Duration,
    /// The longest pause between probes.
    pub probe_cap: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failures: 5,
            first_probe: Duration::from_secs(2),
            probe_cap: Duration::from_secs(30),
        }
    }
}

/// The breaker of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A process that starts does not know how things stand.
    HalfOpen,
    Closed {
        failures: u32,
    },
    Open {
        probe_at: Moment,
        pause: Duration,
    },
}

/// The breaker of a connection.
#[derive(Clone, Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    observe: State,
    terminate: State,
    /// Something decided anything since this process started.
    started: bool,
}

/// How many passes a breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// As many as the limits allow.
    Free,
    /// One at a time, from that moment.
    One(Moment),
}

impl Breaker {
    /// The breaker of a process that starts: half-open.
    pub fn new(policy: BreakerPolicy) -> Self {
        Self {
            policy,
            observe: State::HalfOpen,
            terminate: State::HalfOpen,
            started: false,
        }
    }

    /// How many passes may go.
    pub fn gate(&self) -> Gate {
        let probe_at = |state| match state {
            State::Open { probe_at, .. } => Some(probe_at),
            _ => None,
        };
        match probe_at(self.observe).max(probe_at(self.terminate)) {
            Some(probe_at) => Gate::One(probe_at),
            None if self.started => Gate::Free,
            None => Gate::One(Moment::ZERO),
        }
    }

    /// Whether any operation's breaker is open.
    pub fn is_open(&self) -> bool {
        [self.observe, self.terminate]
            .iter()
            .any(|state| matches!(state, State::Open { .. }))
    }

    /// Takes an answer in, and says whether a failure of it spends an object's budget: only while the operation's
    /// breaker was closed. `probe`: the pass was let through one at a time.
    pub fn report(&mut self, operation: Operation, health: Health, probe: bool, now: Moment) -> bool {
        let policy = self.policy;
        let state = match operation {
            Operation::Observe => &mut self.observe,
            Operation::Terminate => &mut self.terminate,
        };
        let spends = matches!(state, State::Closed { .. });
        match (health, *state) {
            (Health::Success, _) => *state = State::Closed { failures: 0 },
            (Health::Unproven, State::HalfOpen) => *state = State::Closed { failures: 0 },
            (Health::Unproven | Health::Neither, _) => {}
            (Health::Failure, State::Closed { failures }) => {
                let failures = failures + 1;
                *state = if failures >= policy.failures {
                    open(policy, now)
                } else {
                    State::Closed { failures }
                };
            }
            (Health::Failure, State::HalfOpen) => *state = open(policy, now),
            (Health::Failure, State::Open { pause, .. }) if probe => {
                let pause = (pause * 2).min(policy.probe_cap);
                *state = State::Open {
                    probe_at: now + pause,
                    pause,
                };
            }
            // A call that was under way when the breaker opened.
            (Health::Failure, State::Open { .. }) => {}
        }
        self.started |= matches!(health, Health::Success | Health::Unproven);
        spends
    }
}

fn open(policy: BreakerPolicy, now: Moment) -> State {
    State::Open {
        probe_at: now + policy.first_probe,
        pause: policy.first_probe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBSERVE: Operation = Operation::Observe;
    const TERMINATE: Operation = Operation::Terminate;

    fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    fn closed() -> Breaker {
        let mut breaker = Breaker::new(BreakerPolicy::default());
        breaker.report(OBSERVE, Health::Success, true, at(0));
        breaker.report(TERMINATE, Health::Success, true, at(0));
        breaker
    }

    #[test]
    fn a_new_process_goes_one_at_a_time_and_spends_nothing_before_a_success() {
        let mut breaker = Breaker::new(BreakerPolicy::default());
        assert_eq!(breaker.gate(), Gate::One(at(0)));
        assert!(!breaker.is_open(), "half-open");
        assert!(!breaker.report(OBSERVE, Health::Failure, true, at(0)));
        assert_eq!(breaker.gate(), Gate::One(at(2)));
        assert!(!breaker.report(OBSERVE, Health::Success, true, at(2)));
        assert_eq!(breaker.gate(), Gate::Free);
        assert!(
            !breaker.report(TERMINATE, Health::Failure, false, at(2)),
            "reads that work say nothing of writes"
        );
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_the_fifth_still_spends() {
        let mut breaker = closed();
        for _ in 0..4 {
            assert!(breaker.report(TERMINATE, Health::Failure, false, at(1)));
        }
        breaker.report(OBSERVE, Health::Success, false, at(1));
        assert_eq!(breaker.gate(), Gate::Free);
        assert!(!breaker.is_open());
        assert!(breaker.report(TERMINATE, Health::Failure, false, at(1)));
        assert!(breaker.is_open());
        assert_eq!(breaker.gate(), Gate::One(at(3)));
        assert!(!breaker.report(TERMINATE, Health::Failure, false, at(1)));
        assert_eq!(
            breaker.gate(),
            Gate::One(at(3)),
            "a call that was already under way is no probe"
        );
    }

    #[test]
    fn a_success_between_keeps_it_closed() {
        let mut breaker = closed();
        for _ in 0..20 {
            breaker.report(TERMINATE, Health::Failure, false, at(1));
            breaker.report(TERMINATE, Health::Success, false, at(1));
        }
        assert_eq!(breaker.gate(), Gate::Free);
    }

    #[test]
    fn probes_grow_apart_up_to_the_cap_and_the_failing_operation_closes_it() {
        let mut breaker = closed();
        for _ in 0..5 {
            breaker.report(TERMINATE, Health::Failure, false, at(0));
        }
        let mut now = at(2);
        for pause in [4, 8, 16, 30, 30] {
            breaker.report(OBSERVE, Health::Success, true, now);
            assert_eq!(breaker.gate(), Gate::One(now), "a look that works does not close it");
            breaker.report(TERMINATE, Health::Failure, true, now);
            assert_eq!(breaker.gate(), Gate::One(now + at(pause)));
            now += at(pause);
        }
        breaker.report(TERMINATE, Health::Success, true, now);
        assert_eq!(breaker.gate(), Gate::Free);
    }

    #[test]
    fn throttling_and_refused_tokens_are_neither_and_an_unproven_404_ends_the_start() {
        let mut breaker = closed();
        for _ in 0..50 {
            breaker.report(OBSERVE, Health::Neither, false, at(0));
        }
        assert_eq!(breaker.gate(), Gate::Free);
        let mut breaker = Breaker::new(BreakerPolicy::default());
        breaker.report(OBSERVE, Health::Neither, true, at(0));
        assert_eq!(breaker.gate(), Gate::One(at(0)));
        breaker.report(OBSERVE, Health::Unproven, true, at(0));
        assert_eq!(breaker.gate(), Gate::Free);
    }
}
