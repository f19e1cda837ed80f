//! The control planes of the tests.

use chaos::{
    operator::Program,
    scenarios::{Ground, Length, Needs, Scenario},
};
use control_plane::ControlPlane;
use tokio::sync::{OnceCell, Semaphore};

/// How many control planes that belong to one test alone may run at a time.
static ALONE: Semaphore = Semaphore::const_new(2);

/// The operator that is in this crate's program.
pub(crate) fn program() -> Program {
    Program::own(env!("CARGO_BIN_EXE_chaos"))
}

/// The one of this process, for scenarios that do not disturb it.
pub(crate) async fn shared() -> &'static ControlPlane {
    static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
    SHARED
        .get_or_init(|| async { Needs::Shared.start().await.unwrap() })
        .await
}

/// Plays the short form of a scenario that disturbs no server.
pub(crate) async fn play(name: &str) {
    on(shared().await, name).await;
}

/// Plays the short forms of scenarios, one after the other, on a control plane of their own.
pub(crate) async fn play_alone(names: &[&str]) {
    let _turn = ALONE.acquire().await.unwrap();
    let cluster = find(names[0]).needs.start().await.unwrap();
    for name in names {
        on(&cluster, name).await;
    }
    cluster.stop().await.unwrap();
}

async fn on(cluster: &ControlPlane, name: &str) {
    let ground = Ground {
        cluster,
        program: &program(),
        length: Length::Short,
    };
    let findings = (find(name).play)(ground)
        .await
        .unwrap_or_else(|error| panic!("{name}: {error:#}"));
    println!("{name}: {findings:#?}");
}

fn find(name: &str) -> &'static Scenario {
    let mut all = chaos::scenarios::ALL.iter();
    all.find(|scenario| scenario.name == name)
        .unwrap_or_else(|| panic!("there is no scenario {name}"))
}
