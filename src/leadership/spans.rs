//! How long a lease lasts, and how long its holder believes in it.

use std::{error::Error, fmt, time::Duration};

/// The spans of a leader election, checked against each other. The defaults are those of Kubernetes' own components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spans {
    lease: Duration,
    renew_deadline: Duration,
    retry_period: Duration,
}

/// Spans that do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidSpans {
    /// A Lease holds its duration in whole seconds.
    Lease,
    /// The leader must give up before others may take over.
    RenewDeadline,
    /// A renewal must be tried more than once before the leader gives up.
    RetryPeriod,
    /// Without a pause the API server would be asked all the time.
    Pause,
}

impl fmt::Display for InvalidSpans {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Lease => "--leader-elect-lease-duration must be a whole number of seconds from 1 s to 1 h",
            Self::RenewDeadline => {
                "--leader-elect-lease-duration must be longer than --leader-elect-renew-deadline by a tenth or more: a leader must give up before others take over, and no two clocks run alike"
            }
            Self::RetryPeriod => "--leader-elect-renew-deadline must be at least twice --leader-elect-retry-period",
            Self::Pause => "--leader-elect-retry-period must be at least 100 ms",
        })
    }
}

impl Error for InvalidSpans {}

impl Spans {
    /// `lease`: others leave a lease alone for so long after they saw it change. `renew_deadline`: its holder gives up so
    /// long after it began the last renewal that succeeded. `retry_period`: how often it renews.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn new(lease: Duration, renew_deadline: Duration, retry_period: Duration) -> Result<Self, InvalidSpans> {
        if lease.subsec_nanos() != 0 || !(1..=3600).contains(&lease.as_secs()) {
            Err(InvalidSpans::Lease)
        } else if renew_deadline.saturating_mul(11) > lease.saturating_mul(10) {
            Err(InvalidSpans::RenewDeadline)
        } else if retry_period < Duration::from_millis(100) {
            Err(InvalidSpans::Pause)
        } else if retry_period.saturating_mul(2) > renew_deadline {
            Err(InvalidSpans::RetryPeriod)
        } else {
            Ok(Self {
                lease,
                renew_deadline,
                retry_period,
            })
        }
    }

    /// How long others leave a lease alone after they saw it change. Whole seconds.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// How long after the begin of its last successful renewal the holder leads.
    pub fn renew_deadline(&self) -> Duration {
        self.renew_deadline
    }

    /// How long one request may take: two fit before the holder gives up.
    pub fn request(&self) -> Duration {
        self.renew_deadline / 2
    }

    /// The pause between two renewals, and after one that failed. `share`: chance, 0 to 1, so that replicas that started
    /// together do not ask together.
    pub fn retry(&self, share: f64) -> Duration {
        self.retry_period.mul_f64(1.0 - 0.2 * share)
    }

    /// The pause between two looks of one who does not hold the lease. Shorter than client-go's, so that a released lease
    /// is taken within a second.
    pub fn look(&self, share: f64) -> Duration {
        self.retry(share) / 4
    }
}

impl Default for Spans {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(15_000, 10_000, 2_000, None)]
    #[case(3_000, 2_000, 500, None)]
    #[case(11_000, 10_000, 5_000, None)]
    #[case(1_500, 1_000, 500, Some(InvalidSpans::Lease))]
    #[case(0, 0, 0, Some(InvalidSpans::Lease))]
    #[case(7_200_000, 10_000, 2_000, Some(InvalidSpans::Lease))]
    #[case(10_000, 10_000, 2_000, Some(InvalidSpans::RenewDeadline))]
    #[case(10_000, 9_500, 2_000, Some(InvalidSpans::RenewDeadline))]
    #[case(15_000, 10_000, 5_001, Some(InvalidSpans::RetryPeriod))]
    #[case(15_000, 10_000, 99, Some(InvalidSpans::Pause))]
    fn spans_must_go_together(
        #[case] lease: u64,
        #[case] renew: u64,
        #[case] retry: u64,
        #[case] wrong: Option<InvalidSpans>,
    ) {
        let spans = Spans::new(
            Duration::from_millis(lease),
            Duration::from_millis(renew),
            Duration::from_millis(retry),
        );
        assert_eq!(spans.err(), wrong);
        assert!(wrong.is_none_or(|wrong| wrong.to_string().contains("--leader-elect-")));
    }

    #[test]
    fn the_defaults_are_valid_and_quick_enough() {
        let Spans {
            lease,
            renew_deadline,
            retry_period,
        } = Spans::default();
        assert_eq!(Spans::new(lease, renew_deadline, retry_period), Ok(Spans::default()));
        let spans = Spans::default();
        let millis = [
            spans.request(),
            spans.retry(0.0),
            spans.retry(1.0),
            spans.look(0.0),
            spans.look(1.0),
        ]
        .map(|span| span.as_millis());
        assert_eq!(millis, [5_000, 2_000, 1_600, 500, 400]);
    }
}
