//! The flags of the leader election, named as in Kubernetes' own components.

use std::time::Duration;

use clap::Args;
use k8s_openapi::jiff::SignedDuration;

use super::run::switch;
use crate::{
    controller::settings::{Election, Leadership},
    leadership::spans::{InvalidSpans, Spans},
};

/// The flags of the leader election.
#[derive(Args, Debug)]
pub(super) struct ElectionOptions {
    /// Take part in a leader election and work only as the leader. Off: this process works as if it were alone.
    #[arg(long, env = "LEADER_ELECT", default_missing_value = "true", value_parser = switch_on, num_args = 0..=1, require_equals = true, default_value_t = true)]
    leader_elect: bool,
    /// How long the others wait after the last renewal that they saw before they take over. Whole seconds.
    #[arg(long, env = "LEADER_ELECT_LEASE_DURATION", default_value = "15s", value_parser = span)]
    leader_elect_lease_duration: Duration,
    /// How long after its last successful renewal the leader gives up.
    #[arg(long, env = "LEADER_ELECT_RENEW_DEADLINE", default_value = "10s", value_parser = span)]
    leader_elect_renew_deadline: Duration,
    /// How often the leader renews. The others look four times as often.
    #[arg(long, env = "LEADER_ELECT_RETRY_PERIOD", default_value = "2s", value_parser = span)]
    leader_elect_retry_period: Duration,
    /// The name of the Lease.
    #[arg(long, env = "LEADER_ELECT_RESOURCE_NAME", default_value = "guest-termination-operator", value_parser = object_name)]
    leader_elect_resource_name: String,
    /// The namespace of the Lease. Unset: POD_NAMESPACE, else that of the service account or of the kubeconfig's context.
    #[arg(long, env = "LEADER_ELECT_RESOURCE_NAMESPACE", value_parser = object_name_if_any)]
    leader_elect_resource_namespace: Option<String>,
}

/// Like the other switches, but for what is on by default: empty means on.
fn switch_on(text: &str) -> Result<bool, String> {
    if text.is_empty() { Ok(true) } else { switch(text) }
}

/// A span such as 15s, 500ms or 1m30s.
fn span(text: &str) -> Result<Duration, String> {
    let span: Result<SignedDuration, _> = text.parse();
    span.ok()
        .and_then(|span| Duration::try_from(span).ok())
        .ok_or_else(|| format!("{text:?} is not a time span such as 15s, 500ms or 1m30s"))
}

fn object_name(text: &str) -> Result<String, String> {
    if crate::cluster::is_object_name(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a name that an object of Kubernetes can have"))
    }
}

/// The same, or nothing: an empty value in a Deployment means unset.
fn object_name_if_any(text: &str) -> Result<String, String> {
    if text.is_empty() {
        Ok(String::new())
    } else {
        object_name(text)
    }
}

impl ElectionOptions {
    /// The spans, checked against each other.
    ///
    /// # Errors
    /// The rule that they break, by the names of the flags.
    pub(super) fn spans(&self) -> Result<Spans, InvalidSpans> {
        Spans::new(
            self.leader_elect_lease_duration,
            self.leader_elect_renew_deadline,
            self.leader_elect_retry_period,
        )
    }

    /// How it is found out whether this process leads. `client_namespace`: that of the service account, or of the
    /// kubeconfig's context.
    pub(super) fn leadership(&self, spans: Spans, client_namespace: &str) -> Leadership {
        if !self.leader_elect {
            return Leadership::alone();
        }
        let pod = std::env::var("POD_NAMESPACE").ok();
        let named = [self.leader_elect_resource_namespace.clone(), pod];
        let namespace = named.into_iter().flatten().find(|namespace| !namespace.is_empty());
        Leadership::elected(Election {
            namespace: namespace.unwrap_or_else(|| client_namespace.to_owned()),
            name: self.leader_elect_resource_name.clone(),
            spans,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn parse(arguments: &[&str]) -> Result<ElectionOptions, String> {
        let command = ElectionOptions::augment_args(Command::new("run"));
        let matches = command.try_get_matches_from([&["run"], arguments].concat());
        let matches = matches.map_err(|error| error.to_string())?;
        ElectionOptions::from_arg_matches(&matches).map_err(|error| error.to_string())
    }

    fn election(arguments: &[&str]) -> Option<Election> {
        let options = parse(arguments).unwrap();
        options
            .leadership(options.spans().unwrap(), "from-the-client")
            .election()
            .cloned()
    }

    #[test]
    fn it_is_on_by_default_and_with_the_spans_of_kubernetes() {
        let election = election(&[]).unwrap();
        assert_eq!(election.spans, Spans::default());
        assert_eq!(election.name, "guest-termination-operator");
    }

    #[test]
    fn it_can_be_switched_off() {
        assert_eq!(election(&["--leader-elect=false"]), None);
        assert!(election(&["--leader-elect"]).is_some());
        assert!(
            election(&["--leader-elect="]).is_some(),
            "an empty value in a Deployment is no value"
        );
    }

    #[test]
    fn spans_and_names_are_checked_at_once() {
        let named = election(&[
            "--leader-elect-resource-namespace=system",
            "--leader-elect-resource-name=other",
            "--leader-elect-lease-duration=1m30s",
            "--leader-elect-retry-period=500ms",
        ])
        .unwrap();
        assert_eq!((named.namespace.as_str(), named.name.as_str()), ("system", "other"));
        assert_eq!(named.spans.lease(), Duration::from_secs(90));
        for (wrong, words) in [
            ("--leader-elect-lease-duration=15", "is not a time span"),
            ("--leader-elect-lease-duration=-15s", "is not a time span"),
            ("--leader-elect-retry-period=soon", "is not a time span"),
            ("--leader-elect-resource-name=a/b", "is not a name"),
            ("--leader-elect-resource-namespace=Care", "is not a name"),
            ("--leader-elect=perhaps", "neither true nor false"),
        ] {
            let error = parse(&[wrong]).unwrap_err();
            assert!(error.contains(words), "{wrong}: {error}");
        }
        let short = parse(&["--leader-elect-lease-duration=10s"]).unwrap().spans();
        assert_eq!(short, Err(InvalidSpans::RenewDeadline));
    }
}
