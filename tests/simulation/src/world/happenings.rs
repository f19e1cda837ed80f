//! What a plan says that happens.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::{Value, json};

use super::{
    State, World,
    conditions::begin,
    setup::{self, NAMESPACE},
};
use crate::{
    apiserver::requests::{CONNECTIONS, Preconditions, SECRETS, Side, TERMINATIONS, create, delete, merge_patch},
    history::What,
    plan::{Happening, Millis},
    vendor::{Trouble, Vendor},
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
            Happening::GuestReturns { .. }
            | Happening::GuestLeaves { .. }
            | Happening::Refuse { .. }
            | Happening::Odd { .. } => self.guests(what),
            Happening::Delete { .. }
            | Happening::Recreate { .. }
            | Happening::Suspend { .. }
            | Happening::Deadline { .. }
            | Happening::Labels { .. } => self.users(what),
            Happening::Reformat | Happening::Readdress | Happening::RemoveWebhooks | Happening::Reconnect { .. } => {
                self.connections(what)
            }
            Happening::RevokeTokens | Happening::RotateSecret { .. } | Happening::LoseSecret { .. } => {
                self.credentials(what);
            }
            Happening::Kill { replica } => self.kill_replica(*replica),
            Happening::CrashLoop { replica, times, every } => {
                let (world, replica, times) = (self.clone(), *replica, *times);
                let every = Duration::from_millis(*every);
                tokio::spawn(async move {
                    for _ in 0..times {
                        world.kill_replica(replica);
                        tokio::time::sleep(every).await;
                    }
                });
            }
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
            Happening::GuestReturns { guest } => {
                let id = setup::guest_id(*guest);
                state.vendors.iter_mut().for_each(|vendor| vendor.come_back(at, &id));
            }
            Happening::GuestLeaves { guest } => {
                let id = setup::guest_id(*guest);
                state.vendors.iter_mut().for_each(|vendor| vendor.leave(at, &id));
            }
            Happening::Refuse { guest, lasts } => self.trouble(&mut state, *guest, Trouble::Refused, *lasts),
            Happening::Odd { guest, lasts } => {
                self.trouble(&mut state, *guest, Trouble::OddState("transferring"), *lasts);
            }
            _ => {}
        }
        state.note_vendor();
    }

    /// Something is special about a guest for a while.
    fn trouble(&self, state: &mut State, guest: u32, trouble: Trouble, lasts: Millis) {
        let id = setup::guest_id(guest);
        let set = |state: &mut State, id: &str, trouble: Option<&Trouble>| {
            for guest in state.vendors.iter_mut().filter_map(|vendor| vendor.guest_mut(id)) {
                guest.trouble = trouble.cloned();
            }
        };
        set(state, &id, Some(&trouble));
        self.later(lasts, move |state| set(state, &id, None));
    }

    fn connections(&self, what: &Happening) {
        let patch = |webhooks: Value| {
            let patch = json!({"spec": {"webhooks": webhooks}});
            merge_patch(&CONNECTIONS, NAMESPACE, "default", Side::Main, &patch)
        };
        let mut state = self.lock();
        match what {
            Happening::Reformat => {
                let webhooks = setup::webhooks(&state.plan, setup::HOOKS, "CloudEvents");
                state.user(patch(webhooks));
            }
            Happening::Readdress => {
                let webhooks = setup::webhooks(&state.plan, setup::MOVED_HOOKS, "Flat");
                state.user(patch(webhooks));
            }
            Happening::RemoveWebhooks => {
                state.user(patch(json!([])));
            }
            Happening::Reconnect { elsewhere, lasts } => {
                state.user(delete(&CONNECTIONS, NAMESPACE, "default", &Preconditions::default()));
                let host = if *elsewhere {
                    setup::OTHER_HOST.to_owned()
                } else {
                    setup::vendor_host(0)
                };
                let again = setup::connection(&state.plan, &host);
                self.later(*lasts, move |state| {
                    state.user(create(&CONNECTIONS, NAMESPACE, &again));
                });
            }
            _ => {}
        }
    }

    fn users(&self, what: &Happening) {
        let name = |object: &u32| setup::object_name(*object as usize);
        let plan = self.lock().plan.clone();
        let namespace = |object: &u32| setup::namespace_of(&plan, *object as usize);
        let spec = |object: &u32, spec: serde_json::Value| {
            merge_patch(
                &TERMINATIONS,
                &namespace(object),
                &name(object),
                Side::Main,
                &json!({ "spec": spec }),
            )
        };
        match what {
            Happening::Delete { object } => {
                let whose = namespace(object);
                let request = delete(&TERMINATIONS, &whose, &name(object), &Preconditions::default());
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
                let (world, object) = (self.clone(), *object as usize);
                let (times, every) = (*times, Duration::from_millis(*every));
                tokio::spawn(async move {
                    for time in 0..times {
                        world.lock().edit_labels(object, time.into());
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
            Happening::RevokeTokens => {
                state.organisations().for_each(Vendor::revoke_tokens);
            }
            Happening::RotateSecret { late } => {
                let secret = format!("{}-{}", setup::CLIENT_SECRET, state.draw(9, *late));
                for organisation in state.organisations() {
                    organisation.set_client(setup::CLIENT_ID, &secret);
                }
                state.client_secret.clone_from(&secret);
                self.later(*late, |state| {
                    let patch = json!({"data": setup::credentials(&state.client_secret)["data"]});
                    for namespace in (0..state.plan.namespaces()).map(setup::namespace) {
                        state.user(merge_patch(&SECRETS, &namespace, "genesys", Side::Main, &patch));
                    }
                });
            }
            Happening::LoseSecret { lasts } => {
                state.user(delete(&SECRETS, NAMESPACE, "genesys", &Preconditions::default()));
                self.later(*lasts, |state| {
                    state.user(create(&SECRETS, NAMESPACE, &setup::credentials(&state.client_secret)));
                });
            }
            _ => {}
        }
    }

    /// Does something after a while.
    fn later(&self, millis: Millis, what: impl FnOnce(&mut State) + Send + 'static) {
        let world = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            what(&mut world.lock());
        });
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
            Happening::Swallow { .. } => begin(&mut conditions.swallowing, until, ()),
            Happening::ClusterDown { .. } => {
                begin(&mut conditions.cluster_down, until, ());
                state.cut_watches(crate::plan::Cut::Error);
            }
            Happening::ReadOnly { .. } => begin(&mut conditions.read_only, until, ()),
            Happening::NoLeases { .. } => begin(&mut conditions.no_leases, until, ()),
            Happening::Forbidden { .. } => begin(&mut conditions.no_status_writes, until, ()),
            Happening::CutWatches { how } => state.cut_watches(*how),
            Happening::BlackHole => state.deafen_watches(),
            Happening::Compact => {
                // Whoever watches misses something just then, and asks for it when it is forgotten.
                state.cut_watches(crate::plan::Cut::Error);
                for object in 0..state.plan.objects.len() {
                    state.edit_labels(object, 0);
                    state.edit_labels(object, 1);
                }
                let version = state.cluster.version();
                // The server says so in an event of the watch, a cache in front of it by the status of its answer.
                let by_status = state.draw(10, version).is_multiple_of(2);
                state.cluster.refuse_old_watches(by_status);
                state.cluster.compact(version);
            }
            _ => {}
        }
    }
}
