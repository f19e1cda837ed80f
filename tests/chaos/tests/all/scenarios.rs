//! One test a scenario, but for those that take turns on a control plane of their own.

use crate::fixture::{play, play_alone};

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_goes_and_comes_back() {
    play_alone(&["apiserver-restarted", "apiserver-stopped", "apiserver-killed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_goes_and_comes_back_and_then_a_namespace_goes() {
    play_alone(&["etcd-stopped", "etcd-slow", "etcd-killed", "namespace-deleted"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_full() {
    play_alone(&["no-space"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_kinds_come_and_go() {
    play_alone(&["definitions"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_fall_silent() {
    play("black-hole").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_end_all_the_time() {
    play("watches-closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_old() {
    play("old-list").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_cut_off() {
    play("answers-cut").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_late_or_never() {
    play("answers-late").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rights_are_revoked_and_given_back() {
    play("rights-revoked").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_accounts_token_is_replaced() {
    play("token-replaced").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_credentials_change() {
    play("secret-changed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn there_are_many_objects() {
    play_alone(&["many-objects"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_stands_still_and_goes_on() {
    play("leader-paused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_gets_a_tenth_of_the_time() {
    play("leader-starved").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_asked_to_stop() {
    play("asked-to-stop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_asked_to_stop_and_killed() {
    play("stopped-and-killed").await;
}

#[test]
fn every_scenario_is_played() {
    let source = include_str!("scenarios.rs");
    for scenario in chaos::scenarios::ALL {
        assert!(
            source.contains(&format!("\"{}\"", scenario.name)),
            "{scenario:?} is not played"
        );
    }
}
