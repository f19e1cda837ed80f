//! `kill -9`.

use std::time::Duration;

use chaos::{
    kills::{self, Options},
    stage::Stage,
};

use crate::fixture;

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_it_ends_nobody_twice_and_everybody_once() {
    const KILLS: usize = 25;
    let cluster = fixture::shared().await;
    let stage = Stage::set(cluster, &fixture::program(), "kills", 6_000).await.unwrap();
    let options = Options {
        seed: 1,
        count: KILLS,
        objects: 200,
        respite_every: KILLS + 1,
        replicas: 1,
        settle_within: Duration::from_secs(180),
        quiet: Duration::from_secs(3),
    };
    let report = kills::run(&stage, &options, |line| println!("{line}")).await.unwrap();
    println!("{report}");
    let figures = &report.verdict.figures;
    assert_eq!((figures.killed, figures.objects), (KILLS, 200));
    // Otherwise the kills met nothing that could have been forgotten.
    assert!(figures.orphans > 0, "no intent was open when its process was killed");
}
