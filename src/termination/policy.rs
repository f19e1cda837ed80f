//! How long things take: every span and limit that a decision rests on, in one place.

use std::time::Duration;

/// Spans and limits of the termination core. [`Policy::default`] is what the documentation promises.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Delay before the first retry.
    pub backoff_base: Duration,
    /// Each further retry waits this many times longer.
    pub backoff_factor: u32,
    /// No retry waits longer, unless the vendor asks for it.
    pub backoff_cap: Duration,
    /// How long an object waits that this client may not end.
    pub permission_pause: Duration,
    /// How long an object waits after its own call was withheld.
    pub not_sent_pause: Duration,
    /// Pauses between the looks that follow a 202; the last one repeats.
    pub accepted_looks: Vec<Duration>,
    /// How long after a 202 the session may still be active.
    pub accepted_patience: Duration,
    /// How long a call's effect may lag: a look this long after the last send decides an unsuccessful end.
    pub effect_lag: Duration,
    /// How long after the deadline, or the last send, a deciding look is tried for.
    pub last_look_patience: Duration,
    /// Delays of a webhook's tries, each after the one before.
    pub webhook_delays: Vec<Duration>,
    /// `spec.activeDeadlineSeconds` counts this many real seconds each. 1 outside of rehearsals.
    pub deadline_scale: f64,
    /// A look that said active supports an intent for this long. Not scaled.
    pub look_validity: Duration,
    /// A call leaves within this span of the beginning of its intent's write, or not at all. Not scaled.
    pub send_window: Duration,
    /// How long somebody else's intent is left alone: 5 s to begin and send, 10 s for the call, 5 s to spare. Not
    /// scaled.
    pub foreign_intent_patience: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        Self {
            backoff_base: seconds(2),
            backoff_factor: 3,
            backoff_cap: seconds(300),
            permission_pause: seconds(300),
            not_sent_pause: seconds(2),
            accepted_looks: [1, 2, 4, 8, 16, 30].map(seconds).to_vec(),
            accepted_patience: seconds(120),
            effect_lag: seconds(60),
            last_look_patience: seconds(120),
            webhook_delays: vec![
                seconds(0),
                seconds(5),
                seconds(5 * 60),
                seconds(30 * 60),
                hours(2),
                hours(5),
                hours(10),
                hours(14),
                hours(20),
                hours(24),
            ],
            deadline_scale: 1.0,
            look_validity: seconds(5),
            send_window: seconds(5),
            foreign_intent_patience: seconds(20),
        }
    }
}

impl Policy {
    /// The same policy with every wait `factor` times as long, for rehearsals. What guards a call (the look's validity,
    /// the send window, the foreign intent's patience) stays as it is.
    #[must_use]
    pub fn scaled(self, factor: f64) -> Self {
        let scale = |span: Duration| span.mul_f64(factor);
        let all = |spans: Vec<Duration>| spans.into_iter().map(scale).collect();
        Self {
            backoff_base: scale(self.backoff_base),
            backoff_cap: scale(self.backoff_cap),
            permission_pause: scale(self.permission_pause),
            not_sent_pause: scale(self.not_sent_pause),
            accepted_looks: all(self.accepted_looks),
            accepted_patience: scale(self.accepted_patience),
            effect_lag: scale(self.effect_lag),
            last_look_patience: scale(self.last_look_patience),
            webhook_delays: all(self.webhook_delays),
            deadline_scale: self.deadline_scale * factor,
            ..self
        }
    }

    /// The delay before retry number `retry` (from 0): exponential, half of it fixed and half drawn by `jitter` (0 to
    /// 1), and never earlier than the vendor asked for.
    pub fn backoff(&self, retry: u32, jitter: f64, floor: Option<Duration>) -> Duration {
        let grown = self
            .backoff_factor
            .checked_pow(retry)
            .and_then(|factor| self.backoff_base.checked_mul(factor));
        let full = grown.unwrap_or(self.backoff_cap).min(self.backoff_cap);
        half_jittered(full, jitter).max(floor.unwrap_or_default())
    }

    /// The delay before try number `attempt` (from 0) of a webhook, or nothing when the schedule is over.
    pub fn webhook_delay(&self, attempt: usize, jitter: f64, floor: Option<Duration>) -> Option<Duration> {
        let delay = *self.webhook_delays.get(attempt)?;
        Some((delay + delay.mul_f64(0.1 * jitter.clamp(0.0, 1.0))).max(floor.unwrap_or_default()))
    }
}

fn half_jittered(full: Duration, jitter: f64) -> Duration {
    full / 2 + (full / 2).mul_f64(jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_retries_span_four_and_a_half_to_nine_minutes() {
        let policy = Policy::default();
        let span = |jitter: f64| {
            (0..6)
                .map(|retry| policy.backoff(retry, jitter, None))
                .sum::<Duration>()
        };
        assert_eq!(span(0.0), Duration::from_secs(271));
        assert_eq!(span(1.0), Duration::from_secs(542));
    }

    #[test]
    fn the_vendor_s_wish_is_a_floor_and_large_retries_are_capped() {
        let policy = Policy::default();
        assert_eq!(
            policy.backoff(0, 0.5, Some(Duration::from_secs(90))),
            Duration::from_secs(90)
        );
        assert_eq!(policy.backoff(60, 1.0, None), Duration::from_secs(300));
    }

    #[test]
    fn chance_stays_within_its_bounds() {
        let policy = Policy::default();
        let millis = |span: Option<Duration>| span.map(|span| span.as_millis());
        for (jitter, backoff, delay) in [
            (-1.0, 1_000, 5_000),
            (0.0, 1_000, 5_000),
            (0.5, 1_500, 5_250),
            (1.0, 2_000, 5_500),
            (2.0, 2_000, 5_500),
        ] {
            assert_eq!(policy.backoff(0, jitter, None).as_millis(), backoff, "{jitter}");
            assert_eq!(millis(policy.webhook_delay(1, jitter, None)), Some(delay), "{jitter}");
        }
        let floor = Some(Duration::from_secs(90));
        assert_eq!(policy.webhook_delay(1, 1.0, floor), floor);
    }

    #[test]
    fn a_rehearsal_scales_every_wait_and_nothing_that_guards_a_call() {
        let millis = |spans: &[u64]| spans.iter().copied().map(Duration::from_millis).collect::<Vec<_>>();
        let policy = Policy {
            webhook_delays: millis(&[0, 500]),
            deadline_scale: 0.5,
            ..Policy::default()
        };
        let expected = Policy {
            backoff_base: Duration::from_millis(500),
            backoff_cap: Duration::from_secs(75),
            permission_pause: Duration::from_secs(75),
            not_sent_pause: Duration::from_millis(500),
            accepted_looks: millis(&[250, 500, 1_000, 2_000, 4_000, 7_500]),
            accepted_patience: Duration::from_secs(30),
            effect_lag: Duration::from_secs(15),
            last_look_patience: Duration::from_secs(30),
            webhook_delays: millis(&[0, 125]),
            deadline_scale: 0.125,
            ..policy.clone()
        };
        assert_eq!(policy.scaled(0.25), expected);
    }

    #[test]
    fn webhooks_are_tried_ten_times_over_three_days() {
        let policy = Policy::default();
        let total: Duration = (0..)
            .map_while(|attempt| policy.webhook_delay(attempt, 0.0, None))
            .sum();
        assert_eq!(total, Duration::from_secs(75 * 3600 + 35 * 60 + 5));
        assert_eq!(policy.webhook_delay(10, 0.0, None), None);
    }
}
