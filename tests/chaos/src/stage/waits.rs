//! Waiting, on a stage, for something to happen or for nothing to happen any more.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use guest_termination_operator::api::GenesysConnection;
use kube::{Api, api::ListParams};
use serde_json::{Value, json};
use simulator::api::{Moment, Operation, WaitFor};

use super::Stage;

/// How often something is looked at while it is awaited.
const POLL: Duration = Duration::from_millis(100);

impl Stage<'_> {
    /// Waits until every object that was created is settled. Gives how long that took.
    pub async fn settled(&self, within: Duration) -> anyhow::Result<Duration> {
        self.settled_but(0, within).await
    }

    /// Waits until no more than so many objects are open. The server may be away meanwhile.
    pub async fn settled_but(&self, open: usize, within: Duration) -> anyhow::Result<Duration> {
        let began = tokio::time::Instant::now();
        loop {
            let unsettled = ListParams::default().fields("status.settled!=true");
            let left = self.terminations().list(&unsettled).await;
            if let Ok(left) = &left
                && left.items.len() <= open
            {
                return Ok(began.elapsed());
            }
            if began.elapsed() >= within {
                let left = left?;
                let one = left.items.first().map(serde_json::to_string_pretty).transpose()?;
                bail!(
                    "after {within:?} {} objects are not settled, one of them {}",
                    left.items.len(),
                    one.unwrap_or_default()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The object once `wanted` holds of it.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let object = self.terminations().get_opt(name).await;
            let seen = match object {
                Ok(Some(object)) => serde_json::to_value(object)?,
                Ok(None) => Value::Null,
                Err(error) => json!(error.to_string()),
            };
            if wanted(&seen) {
                return Ok(seen);
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("{name} did not come to that within {within:?}: {what}. It is {seen:#}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until the connection's `Ready` has one of these reasons, and gives it.
    pub async fn connection_says(&self, reasons: &[&str], within: Duration) -> anyhow::Result<String> {
        let connections: Api<GenesysConnection> = Api::namespaced(self.client.clone(), &self.namespace);
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let connection = serde_json::to_value(connections.get("default").await?)?;
            let conditions = connection["status"]["conditions"].as_array();
            let ready = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == "Ready"));
            let reason = ready.and_then(|ready| ready["reason"].as_str()).unwrap_or_default();
            if reasons.contains(&reason) {
                return Ok(reason.to_owned());
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("the connection did not come to {reasons:?} within {within:?}: {connection:#}");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Waits until a call about this guest has come to that moment.
    pub async fn happens(&self, operation: Operation, moment: Moment, guest: &str) -> anyhow::Result<()> {
        let wait = WaitFor {
            timeout_ms: 60_000,
            ..WaitFor::new(operation, moment).guest(guest)
        };
        let found = self.simulator.wait_for(&wait).await;
        found
            .map(drop)
            .with_context(|| format!("no {operation:?} of {guest} was {moment:?} within 60 s"))
    }

    /// Holds that for so long nothing is written about any termination and nobody is called.
    pub async fn quiet(&self, window: Duration) -> anyhow::Result<()> {
        // An Event may be on its way yet.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let seen = || {
            let ledger = self.simulator.ledger();
            ledger.calls.len() + ledger.webhooks.len()
        };
        let (position, before) = (self.cluster.audit_position(), seen());
        tokio::time::sleep(window).await;
        let mut writes = self.requests_since(Some(position))?;
        // The connection tells its own news, at most once a minute.
        writes.retain(|event| event.is_write() && event.resource != "genesysconnections" && event.resource != "leases");
        ensure!(
            writes.is_empty(),
            "all is settled, and still there is written: {writes:#?}"
        );
        ensure!(
            seen() == before,
            "all is settled, and {} calls more were made",
            seen() - before
        );
        Ok(())
    }
}
