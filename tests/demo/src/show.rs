//! Tables for people.

use crate::check::{body, text};
use crate::progress::say;
use crate::scene::Scene;
use simulator::api::WebhookCall;

/// How many lines of a log are shown.
const LINES: usize = 20;

/// The webhooks that were received, and whether their signatures hold.
pub(crate) fn webhooks(webhooks: &[WebhookCall]) {
    let heads = [
        "ENDPOINT",
        "WEBHOOK-ID",
        "VERIFIED",
        "ANSWERED",
        "GUEST",
        "OUTCOME",
        "RETENTION",
    ];
    let mut rows = vec![heads.map(str::to_owned)];
    for webhook in webhooks {
        let body = body(webhook);
        rows.push([
            webhook.endpoint.clone(),
            webhook.id.clone().unwrap_or_default(),
            webhook.refusal.clone().unwrap_or_else(|| "yes".to_owned()),
            webhook.status.map(|status| status.to_string()).unwrap_or_default(),
            text(&body["guest_id"]),
            text(&body["outcome"]),
            text(&body["retention_applied"]),
        ]);
    }
    table(&rows);
}

fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) {
    let widths: [usize; COLUMNS] =
        std::array::from_fn(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        say(format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end());
    }
}

/// What helps to see why the demo failed: the objects as they are, and the last lines of the programs.
pub(crate) async fn last_words(scene: &Scene) {
    // The cluster may be what failed.
    if let Err(error) = scene.cluster.show(&["get", "gterm,gconn", "-o", "wide"]).await {
        say(&format!("  {error:#}"));
    }
    let operator = scene.operator.get().map(|operator| &operator.process);
    let vendor = scene.vendor.get().map(|vendor| &vendor.process);
    for process in [operator, vendor].into_iter().flatten() {
        say(&format!("the last lines of the {}'s log:", process.name()));
        let log = process.stderr();
        for line in &log[log.len().saturating_sub(LINES)..] {
            say(&format!("  {line}"));
        }
    }
}
