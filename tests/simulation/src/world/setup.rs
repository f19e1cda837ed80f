//! What is there when a run begins, and the names of things.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};
use tokio::{sync::Notify, time::Instant};

use super::{State, World, conditions::Conditions, process::Machine};
use crate::{
    apiserver::{
        ApiServer,
        requests::{CONNECTIONS, DEFINITIONS, SECRETS, Side, TERMINATIONS, create, replace},
    },
    clock::wall,
    history::History,
    plan::{Object, Plan},
    vendor::{EndedAs, Ending, Guest, Receiver, Vendor},
};

/// The first namespace, which everything is in unless a plan says otherwise.
pub const NAMESPACE: &str = "guests";
/// Where webhooks go, up to their number.
pub(super) const HOOKS: &str = "hooks.receiver.test/webhooks/hook";
/// Where they go after they have moved.
pub(super) const MOVED_HOOKS: &str = "hooks.receiver.test/webhooks/moved";
/// The host of the webhook receiver.
pub(super) const RECEIVER_HOST: &str = "hooks.receiver.test";
/// The host of another organisation of the vendor's, which knows none of the guests.
pub(super) const OTHER_HOST: &str = "api.elsewhere.test";
/// Ids that lead somewhere else, put into a path as they stand.
const HOSTILE_IDS: [&str; 4] = ["..", ".", "../guests", "%2e%2e"];
/// The client id.
pub(super) const CLIENT_ID: &str = "the-client";
/// The client secret at first. The ones after it get a number.
pub(super) const CLIENT_SECRET: &str = "secret-c4naryc4nary";
/// 24 bytes in base64, and a canary as they stand.
const SIGNING_KEY: &str = "whsec_c4naryc4naryc4naryc4naryc4naryc4";

/// The name of a namespace.
pub fn namespace(number: u32) -> String {
    match number {
        0 => NAMESPACE.to_owned(),
        more => format!("{NAMESPACE}-{more}"),
    }
}

/// The host of the vendor that a namespace's connection leads to.
pub(super) fn vendor_host(namespace: u32) -> String {
    match namespace {
        0 => "api.vendor.test".to_owned(),
        more => format!("api-{more}.vendor.test"),
    }
}

/// The namespace that an object of the plan is in.
pub fn namespace_of(plan: &Plan, object: usize) -> String {
    namespace(plan.objects.get(object).map_or(0, |object| object.namespace))
}

/// The id of a guest.
pub fn guest_id(guest: u32) -> String {
    format!("guest-{guest}")
}

/// The name of an object.
pub fn object_name(object: usize) -> String {
    format!("end-{object}")
}

/// The guest that a call is about.
pub(super) fn guest_of(request: &Request<Bytes>) -> String {
    let last = request.uri().path().rsplit('/').next().unwrap_or_default();
    last.to_owned()
}

/// A path of many objects, not of one.
pub(super) fn is_collection(path: &str) -> bool {
    path.ends_with("/guestterminations") || path.ends_with("/genesysconnections")
}

/// A Secret with one version of the credentials.
pub(super) fn credentials(secret: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "genesys"},
        "data": {"clientId": STANDARD.encode(CLIENT_ID), "clientSecret": STANDARD.encode(secret)}})
}

/// The manifest of a termination.
pub fn manifest(number: usize, object: &Object) -> Value {
    let guest = if object.hostile {
        HOSTILE_IDS[number % HOSTILE_IDS.len()].to_owned()
    } else {
        guest_id(object.guest)
    };
    let mut spec = json!({
        "guestId": guest,
        "reason": "customer_initiated",
        "retainData": object.retain_data,
        "externalRef": format!("ticket-{number}"),
        "backoffLimit": object.backoff_limit,
        "activeDeadlineSeconds": object.active_deadline_seconds,
        "suspend": object.suspend,
    });
    if let Some(not_after) = object.not_after {
        spec["notAfter"] = wall(Duration::from_millis(not_after)).to_string().into();
    }
    json!({"apiVersion": "guestops.dev/v1alpha1", "kind": "GuestTermination",
        "metadata": {"name": object_name(number), "namespace": namespace(object.namespace)},
        "spec": spec})
}

/// The webhook endpoints of a plan, as the receiver names them: where they are at first, and where they can move to.
pub(super) fn endpoints(plan: &Plan) -> Vec<String> {
    let places = [HOOKS, MOVED_HOOKS].into_iter();
    places
        .flat_map(|place| (0..plan.connection.webhooks).map(move |number| format!("{place}-{number}")))
        .collect()
}

/// How a guest's session ends, and what is said of it afterwards.
fn behaviour(plan: &Plan, guest: u32) -> Guest {
    let draw = super::mix(plan.seed ^ u64::from(guest));
    let ending = match plan.connection.accepts_after {
        None if draw.is_multiple_of(4) => Ending::AtOnceWithBody,
        None => Ending::AtOnce,
        // Longer than anybody looks: it was accepted and never done.
        Some(after) if after > 150_000 => Ending::AcceptedNever,
        Some(after) => Ending::Accepted(Duration::from_millis(after)),
    };
    let ways = [
        EndedAs::State("closed"),
        EndedAs::State("terminated"),
        EndedAs::NotFound,
        EndedAs::NoConversation,
        EndedAs::Gone,
        EndedAs::Empty,
    ];
    let mut guest = Guest::default();
    (guest.ending, guest.ended_as) = (ending, ways[(draw >> 8) as usize % ways.len()]);
    guest
}

/// The webhooks of the connection, at that place and in that format.
pub(super) fn webhooks(plan: &Plan, place: &str, format: &str) -> Value {
    (0..plan.connection.webhooks)
        .map(|number| {
            json!({"name": format!("hook-{number}"), "url": format!("https://{place}-{number}"),
                "signingSecretRef": {"name": "signing", "key": "key"}, "format": format})
        })
        .collect()
}

/// The manifest of the connection, to that host of the vendor's.
pub(super) fn connection(plan: &Plan, host: &str) -> Value {
    json!({"apiVersion": "guestops.dev/v1alpha1", "kind": "GenesysConnection",
    "metadata": {"name": "default"},
    "spec": {
        "api": "WebMessagingGuests",
        "endpoints": {"apiUrl": format!("https://{host}"), "loginUrl": format!("https://{host}")},
        "credentialsSecretRef": {"name": "genesys"},
        "notFound": {"trust": if plan.connection.trusted { "Always" } else { "WhenProven" }},
        "rateLimit": {"requestsPerMinute": plan.connection.requests_per_minute,
                      "maxInFlight": plan.connection.max_in_flight},
        "webhooks": webhooks(plan, HOOKS, "Flat"),
    }})
}

impl World {
    /// The world as it is when a run of that plan begins. Nobody works in it yet.
    pub fn new(plan: Arc<Plan>, history: History) -> Self {
        let organisation = |host: &str| {
            let mut vendor = Vendor::new(host);
            vendor.set_client(CLIENT_ID, CLIENT_SECRET);
            vendor.limit = Some(plan.connection.requests_per_minute);
            vendor
        };
        let elsewhere = organisation(OTHER_HOST);
        let mut receiver = Receiver::default();
        for endpoint in endpoints(&plan) {
            receiver.set_keys(&endpoint, &[SIGNING_KEY]);
        }
        let vendors = (0..plan.namespaces())
            .map(|namespace| {
                let mut vendor = organisation(&vendor_host(namespace));
                let objects = plan.objects.iter().filter(|object| object.namespace == namespace);
                let guests: BTreeMap<u32, bool> = objects.map(|object| (object.guest, object.active)).collect();
                for (guest, _) in guests.into_iter().filter(|(_, active)| *active) {
                    vendor.add_guest(Duration::ZERO, &guest_id(guest), behaviour(&plan, guest));
                }
                vendor
            })
            .collect();
        let machines = (0..plan.replicas.count()).map(|_| Machine::new()).collect();
        let (rules, connects_at) = (plan.rules, plan.connection.at);
        let namespaces: Vec<String> = (0..plan.namespaces()).map(namespace).collect();
        let names: Vec<&str> = namespaces.iter().map(String::as_str).collect();
        let mut state = State {
            origin: Instant::now(),
            plan,
            cluster: ApiServer::new(wall(Duration::ZERO), &names),
            vendors,
            elsewhere,
            receiver,
            client_secret: CLIENT_SECRET.to_owned(),
            history,
            over: Arc::new(Notify::new()),
            machines,
            alive: BTreeMap::new(),
            last_process: 0,
            last_ordinal: 0,
            last_watch: 0,
            effects: BTreeMap::new(),
            conditions: Conditions::default(),
            watches: BTreeMap::new(),
            stored_at: Vec::new(),
        };
        state.note_vendor();
        let signing = json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "signing"}, "data": {"key": STANDARD.encode(SIGNING_KEY)}});
        let mut accepted = true;
        for namespace in &namespaces {
            accepted &= state.user(create(&SECRETS, namespace, &credentials(CLIENT_SECRET)));
            accepted &= state.user(create(&SECRETS, namespace, &signing));
        }
        accepted &= rules || state.drop_rules();
        accepted &= connects_at > 0 || state.connect();
        assert!(
            accepted,
            "what a world begins with is refused: {:?}",
            state.history.records()
        );
        Self(Arc::new(Mutex::new(state)))
    }

    /// A user creates the connection of each namespace.
    pub(crate) fn connect(&self) {
        self.lock().connect();
    }

    /// A user creates a termination.
    pub(crate) fn create(&self, object: usize) {
        let mut state = self.lock();
        let plan = state.plan.clone();
        if let Some(termination) = plan.objects.get(object) {
            let namespace = namespace(termination.namespace);
            state.user(create(&TERMINATIONS, &namespace, &manifest(object, termination)));
        }
    }
}

impl State {
    fn connect(&mut self) -> bool {
        let mut accepted = true;
        for number in 0..self.plan.namespaces() {
            let connection = connection(&self.plan, &vendor_host(number));
            accepted &= self.user(create(&CONNECTIONS, &namespace(number), &connection));
        }
        accepted
    }

    /// Somebody has put definitions in place of ours that hold no specs and statuses to any promise.
    fn drop_rules(&mut self) -> bool {
        ["guestterminations.guestops.dev", "genesysconnections.guestops.dev"]
            .into_iter()
            .all(|name| {
                let Some(definition) = self.cluster.object(&DEFINITIONS, "", name) else {
                    return false;
                };
                let mut definition = definition.as_ref().clone();
                drop_rules(&mut definition);
                self.user(replace(&DEFINITIONS, "", name, Side::Main, &definition))
            })
    }
}

fn drop_rules(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("x-kubernetes-validations");
            fields.values_mut().for_each(drop_rules);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_rules),
        _ => {}
    }
}
