//! The nine terminations that the demo shows: what the vendor is told to do with each, and how each must end.

use simulator::api::{FaultSpec, GuestSpec, Operation, RetryAfter, ScriptedAnswer};

/// How long the vendor asks for a pause; long enough to see, short enough to wait for.
const RETRY_AFTER_SECONDS: u64 = 3;

/// One termination, whose manifest is `manifests/terminations/NAME.yaml`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// The state of the guest's session at the vendor; `None`: the vendor knows no such guest.
    session: Option<&'static str>,
    /// What the vendor answers to terminate calls, and how often, before it does what it is asked.
    fault: Option<(u16, u64)>,
    pub(crate) expected: Expected,
}

/// How a termination must end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    pub(crate) phase: &'static str,
    pub(crate) outcome: &'static str,
    /// Status and reason of the condition `Ready`; `None`: there must be none.
    pub(crate) ready: Option<&'static str>,
    /// Status and reason of the condition `RetentionApplied`.
    pub(crate) retention: &'static str,
    /// Terminate calls that the vendor saw.
    pub(crate) sent: usize,
    /// Whether the vendor saw looks at the session. How many is a matter of timing: when another's 429 pauses the
    /// connection between the intent and the call, the call is not sent, and the next pass looks again.
    pub(crate) looked: bool,
    /// Whether a call of ours ended the session.
    pub(crate) ended: bool,
    /// Whether the end is announced to the webhook.
    pub(crate) announced: bool,
    /// The Events: type and reason.
    pub(crate) events: &'static [&'static str],
}

/// A session that a call of ours ends.
const ENDED: Expected = Expected {
    phase: "Terminated",
    outcome: "Terminated",
    ready: Some("True Terminated"),
    retention: "True SentWithTermination",
    sent: 1,
    looked: true,
    ended: true,
    announced: true,
    events: &["Normal Terminated"],
};
/// A session that is over before we come.
const OVER: Expected = Expected {
    phase: "Terminated",
    outcome: "AlreadyTerminated",
    ready: Some("True AlreadyTerminated"),
    retention: "Unknown SessionAlreadyClosed",
    sent: 0,
    looked: true,
    ended: false,
    announced: true,
    events: &["Normal AlreadyTerminated"],
};

/// The first of all: a guest that was read proves the connection's address, and only then is a 404 believed.
pub(crate) const FIRST: &str = "plain-success";
/// The one that is held until the demo resumes it.
pub(crate) const HELD: &str = "suspended";

/// All of them.
pub(crate) const CASES: [Case; 9] = [
    Case {
        name: FIRST,
        session: Some("active"),
        fault: None,
        expected: ENDED,
    },
    Case {
        name: "already-closed",
        session: Some("closed"),
        fault: None,
        expected: OVER,
    },
    Case {
        name: "unknown-session",
        session: None,
        fault: None,
        expected: OVER,
    },
    Case {
        name: "rate-limited",
        session: Some("active"),
        fault: Some((429, 1)),
        expected: Expected {
            sent: 2,
            events: &["Warning RateLimited", "Normal Terminated"],
            ..ENDED
        },
    },
    Case {
        name: "unavailable-twice",
        session: Some("active"),
        fault: Some((503, 2)),
        expected: Expected {
            sent: 3,
            events: &["Warning AttemptFailed", "Normal Terminated"],
            ..ENDED
        },
    },
    Case {
        name: "rejected",
        session: Some("active"),
        fault: Some((400, 1)),
        expected: Expected {
            phase: "Failed",
            outcome: "Rejected",
            ready: Some("False Rejected"),
            retention: "Unknown NotSent",
            sent: 1,
            looked: true,
            ended: false,
            announced: false,
            events: &["Warning Rejected"],
        },
    },
    Case {
        name: "expired",
        session: Some("active"),
        fault: None,
        expected: Expected {
            phase: "Expired",
            outcome: "Expired",
            ready: None,
            retention: "Unknown NotSent",
            sent: 0,
            looked: false,
            ended: false,
            announced: false,
            events: &["Warning Expired"],
        },
    },
    Case {
        name: HELD,
        session: Some("active"),
        fault: None,
        expected: Expected {
            events: &["Normal Suspended", "Normal Resumed", "Normal Terminated"],
            ..ENDED
        },
    },
    Case {
        name: "retention-not-applied",
        session: Some("closed"),
        fault: None,
        expected: Expected {
            events: &["Normal AlreadyTerminated", "Warning RetentionNotApplied"],
            ..OVER
        },
    },
];

impl Case {
    /// The guest of its manifest.
    pub(crate) fn guest(&self) -> String {
        format!("guest-{}", self.name)
    }

    /// The guest as the vendor is to know it.
    pub(crate) fn session(&self) -> Option<GuestSpec> {
        self.session.map(|state| GuestSpec::in_state(self.guest(), state))
    }

    /// What goes wrong at the vendor.
    pub(crate) fn fault(&self) -> Option<FaultSpec> {
        let (status, times) = self.fault?;
        let answer = match ScriptedAnswer::vendor(status) {
            answer if status == 429 => answer.retry_after(RetryAfter::Seconds(RETRY_AFTER_SECONDS)),
            answer => answer,
        };
        let fault = FaultSpec::on(Operation::Terminate).guest(self.guest());
        Some(fault.times(times).answer(answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_case_is_a_manifest_and_every_manifest_is_a_case() {
        let folder = crate::place::checkout().join(crate::play::TERMINATIONS);
        let files = std::fs::read_dir(folder).unwrap();
        let files: BTreeSet<_> = files
            .map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(files, CASES.iter().map(|case| case.name.to_owned()).collect());
    }
}
