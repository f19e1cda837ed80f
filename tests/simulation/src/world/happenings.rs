//! What a plan says that happens.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::json;

use super::{
    World,
    conditions::begin,
    setup::{self, NAMESPACE},
};
use crate::{
    apiserver::requests::{Preconditions, SECRETS, Side, TERMINATIONS, create, delete, merge_patch},
    history::What,
    plan::Happening,
};

impl World {
    /// Makes it happen now.
    pub(crate) fn happen(&self, what: &Happening) {
        let until = {
            let mut state = self.lock();
            state.record(What::World(format!("{what:?}")));
            state.at() + Duration::from_millis(what.lasts())
        };
        match what {
            Happening::GuestReturns { .. } | Happening::GuestLeaves { .. } => self.guests(what),
            Happening::Delete { .. }
            | Happening::Recreate { .. }
            | Happening::Suspend { .. }
            | Happening::Deadline { .. }
            | Happening::Labels { .. } => self.users(what),
            Happening::RevokeTokens | Happening::RotateSecret { .. } | Happening::LoseSecret { .. } => {
                self.credentials(what);
            }
            Happening::Kill { replica } => self.kill_replica(*replica),
            Happening::Stop { replica } => self.stop_replica(*replica),
            Happening::Freeze { replica, lasts } => self.freeze_replica(*replica, Duration::from_millis(*lasts)),
            Happening::ClockJump { replica, seconds } => {
                if let Some(machine) = self.lock().machines.get(*replica as usize) {
                    machine.ahead.fetch_add(seconds * 1000, Ordering::Relaxed);
                }
            }
            _ => self.spell(what, until),
        }
    }

    fn guests(&self, what: &Happening) {
        let mut state = self.lock();
        let at = state.at();
        match what {
            Happening::GuestReturns { guest } => state.vendor.come_back(at, &setup::guest_id(*guest)),
            Happening::GuestLeaves { guest } => state.vendor.leave(at, &setup::guest_id(*guest)),
            _ => {}
        }
        state.note_vendor();
    }

    fn users(&self, what: &Happening) {
        let name = |object: &u32| setup::object_name(*object as usize);
        let spec = |object: &u32, spec: serde_json::Value| {
            merge_patch(
                &TERMINATIONS,
                NAMESPACE,
                &name(object),
                Side::Main,
                &json!({ "spec": spec }),
            )
        };
        match what {
            Happening::Delete { object } => {
                let request = delete(&TERMINATIONS, NAMESPACE, &name(object), &Preconditions::default());
                self.lock().user(request);
            }
            Happening::Recreate { object } => self.create(*object as usize),
            Happening::Suspend { object, suspend } => {
                self.lock().user(spec(object, json!({"suspend": suspend})));
            }
            Happening::Deadline { object, seconds } => {
                self.lock()
                    .user(spec(object, json!({"activeDeadlineSeconds": seconds})));
            }
            Happening::Labels { object, times, every } => {
                let (world, name) = (self.clone(), name(object));
                let (times, every) = (*times, Duration::from_millis(*every));
                tokio::spawn(async move {
                    for time in 0..times {
                        world.lock().edit_labels(&name, time.into());
                        tokio::time::sleep(every).await;
                    }
                });
            }
            _ => {}
        }
    }

    fn credentials(&self, what: &Happening) {
        let mut state = self.lock();
        match what {
            Happening::RevokeTokens => state.vendor.revoke_tokens(),
            Happening::RotateSecret { late } => {
                let secret = format!("{}-{}", setup::CLIENT_SECRET, state.draw(9, *late));
                state.vendor.set_client(setup::CLIENT_ID, &secret);
                state.client_secret = secret;
                let world = self.clone();
                let late = Duration::from_millis(*late);
                tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    // What is in force by now: another rotation may have overtaken this one.
                    let mut state = world.lock();
                    let patch = json!({"data": setup::credentials(&state.client_secret)["data"]});
                    state.user(merge_patch(&SECRETS, NAMESPACE, "genesys", Side::Main, &patch));
                });
            }
            Happening::LoseSecret { lasts } => {
                state.user(delete(&SECRETS, NAMESPACE, "genesys", &Preconditions::default()));
                let (world, lasts) = (self.clone(), Duration::from_millis(*lasts));
                tokio::spawn(async move {
                    tokio::time::sleep(lasts).await;
                    let mut state = world.lock();
                    let secret = setup::credentials(&state.client_secret);
                    state.user(create(&SECRETS, NAMESPACE, &secret));
                });
            }
            _ => {}
        }
    }

    /// What goes wrong for a while.
    fn spell(&self, what: &Happening, until: Duration) {
        let mut state = self.lock();
        let conditions = &mut state.conditions;
        match what {
            Happening::Outage { calls, .. } => begin(&mut conditions.outages, until, *calls),
            Happening::Throttle { retry_after, .. } => begin(&mut conditions.throttles, until, *retry_after),
            Happening::LostRoute { shape, .. } => begin(&mut conditions.lost_routes, until, *shape),
            Happening::Forbid { guest, .. } => {
                begin(&mut conditions.forbidden_guests, until, setup::guest_id(*guest));
            }
            Happening::Receiver { status, .. } => begin(&mut conditions.receiver, until, *status),
            Happening::Lag { by, .. } => begin(&mut conditions.lag, until, Duration::from_millis(*by)),
            Happening::TimeTravel { by, .. } => begin(&mut conditions.time_travel, until, Duration::from_millis(*by)),
            Happening::Mess { .. } => begin(&mut conditions.mess, until, ()),
            Happening::ClusterDown { .. } => {
                begin(&mut conditions.cluster_down, until, ());
                state.cut_watches(crate::plan::Cut::Error);
            }
            Happening::ReadOnly { .. } => begin(&mut conditions.read_only, until, ()),
            Happening::Forbidden { .. } => begin(&mut conditions.no_status_writes, until, ()),
            Happening::CutWatches { how } => state.cut_watches(*how),
            Happening::BlackHole => state.deafen_watches(),
            Happening::Compact => {
                let version = state.cluster.version();
                state.cluster.compact(version);
            }
            _ => {}
        }
    }
}
