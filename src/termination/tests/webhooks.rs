//! The outbox of a finished termination: which webhooks are to be tried, when, and what is said of them.

use rstest::rstest;

use super::bench::*;
use crate::{
    api::{WebhookState, conditions::ConditionType as Type},
    termination::{
        answer::Call,
        decide::pending_webhooks,
        fact::{Fact, WebhookAnswer},
    },
};

/// A termination that was just confirmed, with a webhook of each name.
fn announced(names: &[&str]) -> Bench {
    let mut bench = Bench::new();
    let one = bench.context.webhooks.remove(0);
    for name in names {
        let mut webhook = one.clone();
        webhook.name = (*name).to_owned();
        bench.context.webhooks.push(webhook);
    }
    bench.looks(active()).attempt(answer(Call::Applied, Some(204), None));
    bench
}

fn tried(bench: &mut Bench, name: &str, answer: WebhookAnswer) {
    bench.take(&Fact::WebhookTried {
        name: name.to_owned(),
        answer,
        jitter: 0.0,
    });
}

fn names(bench: &Bench) -> Vec<&str> {
    pending_webhooks(&bench.status).map(|(name, _)| name).collect()
}

#[test]
fn what_is_pending_is_to_be_tried_while_the_termination_is_finished_and_not_settled() {
    let mut bench = announced(&["a", "b"]);
    assert_eq!(names(&bench), ["a", "b"]);
    tried(&mut bench, "a", WebhookAnswer::Accepted { status: 204 });
    assert_eq!(names(&bench), ["b"], "what is delivered is not tried again");
    let mut settled = bench.clone();
    settled.status.settled = Some(true);
    assert!(names(&settled).is_empty(), "whatever its webhooks say");
    bench.status.finished = None;
    assert!(names(&bench).is_empty(), "nothing is announced before the end");
}

fn failed(why: &str) -> WebhookAnswer {
    WebhookAnswer::Failed {
        status: Some(500),
        retry_after: None,
        why: why.to_owned(),
    }
}

#[test]
fn a_try_concerns_its_own_webhook_alone_and_only_while_it_is_pending() {
    let mut bench = announced(&["a", "b"]);
    tried(&mut bench, "b", WebhookAnswer::Accepted { status: 204 });
    let states: Vec<_> = bench.status.webhooks.iter().map(|it| (it.state, it.attempts)).collect();
    assert_eq!(states, [(WebhookState::Pending, 0), (WebhookState::Delivered, 1)]);
    let before = bench.status.clone();
    tried(&mut bench, "b", failed("HTTP 500"));
    tried(&mut bench, "c", WebhookAnswer::Gone);
    assert_eq!(bench.status, before);
}

#[rstest]
#[case::gone(WebhookAnswer::Gone, "The endpoint of webhook a answered 410: it wants no more.")]
#[case::removed(
    WebhookAnswer::Removed,
    "Webhook a was removed from the connection before it was delivered."
)]
fn what_cannot_be_delivered_says_why(#[case] answer: WebhookAnswer, #[case] message: &str) {
    let mut bench = announced(&["a"]);
    tried(&mut bench, "a", answer);
    assert_eq!(bench.message(Type::WebhookDelivered), message);
    assert!(bench.status.is_settled());
}
