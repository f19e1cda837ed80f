//! One random sequence of requests.

use bytes::Bytes;
use http::Request;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use simulation::apiserver::requests::{
    self, CONNECTIONS, EVENTS, LEASES, Preconditions, Resource, SECRETS, Side, TERMINATIONS, merge,
};

use crate::{pair::Memory, values};

/// The names of the objects of a sequence.
pub(crate) const NAMES: [&str; 2] = ["a", "b"];

/// One request, before it is known which versions and uids there are.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Create {
        object: Value,
    },
    Merge {
        name: &'static str,
        side: Side,
        patch: Value,
    },
    Put {
        name: &'static str,
        side: Side,
        edit: Value,
        back: usize,
        version: Claim,
        uid: Claim,
    },
    Delete {
        name: &'static str,
        uid: Claim,
        version: Claim,
    },
    Get {
        name: &'static str,
        metadata: bool,
    },
    /// With all its pages.
    List {
        parameters: Vec<(&'static str, String)>,
    },
    /// A watch from an earlier version of the first object, as many versions back, or from what there is.
    Watch {
        selector: Option<(&'static str, &'static str)>,
        back: Option<usize>,
    },
}

/// Which version, or uid, a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// What was seen.
    Seen,
    /// None.
    None,
    /// One that no object has.
    Wrong,
}

/// A sequence.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) resource: Resource,
    pub(crate) steps: Vec<Step>,
}

impl Plan {
    /// The sequence of that number: always the same.
    pub(crate) fn of(number: u64) -> Self {
        let mut random = StdRng::seed_from_u64(number);
        let resource = match random.random_range(0..20) {
            0 | 1 => LEASES,
            2 => SECRETS,
            3 => EVENTS,
            4 | 5 => CONNECTIONS,
            _ => TERMINATIONS,
        };
        let mut steps = vec![create(&mut random, &resource)];
        for _ in 0..random.random_range(5..9) {
            steps.push(step(&mut random, &resource));
        }
        Self { resource, steps }
    }
}

fn pick<'a, T>(random: &mut StdRng, values: &'a [T]) -> &'a T {
    &values[random.random_range(0..values.len())]
}

/// Three of four objects are the first one: a sequence that spreads over many objects finds no conflict.
fn name(random: &mut StdRng) -> &'static str {
    NAMES[usize::from(random.random_range(0..4) == 0)]
}

fn claim(random: &mut StdRng) -> Claim {
    match random.random_range(0..8) {
        0 => Claim::None,
        1 => Claim::Wrong,
        _ => Claim::Seen,
    }
}

fn create(random: &mut StdRng, resource: &Resource) -> Step {
    let mut object = values::object(resource);
    object["metadata"]["name"] = json!(name(random));
    if random.random_range(0..3) == 0 {
        merge(&mut object, pick(random, &values::creations(resource)).clone());
    }
    Step::Create { object }
}

fn edit(random: &mut StdRng, resource: &Resource, side: Side) -> Value {
    let mut edit = json!({});
    for _ in 0..random.random_range(0..3) {
        let edits = if side == Side::Status {
            values::status_edits(resource)
        } else if random.random_range(0..3) == 0 {
            values::metadata_edits()
        } else {
            values::main_edits(resource)
        };
        merge(&mut edit, pick(random, &edits).clone());
    }
    edit
}

fn step(random: &mut StdRng, resource: &Resource) -> Step {
    let has_status = *resource == TERMINATIONS || *resource == CONNECTIONS;
    let side = if has_status && random.random_range(0..3) > 0 {
        Side::Status
    } else {
        Side::Main
    };
    match random.random_range(0..20) {
        0 | 1 => create(random, resource),
        2..=7 => Step::Merge {
            name: name(random),
            side,
            patch: edit(random, resource, side),
        },
        8..=14 => Step::Put {
            name: name(random),
            side,
            edit: edit(random, resource, side),
            back: usize::from(random.random_range(0..5) == 0),
            version: claim(random),
            uid: claim(random),
        },
        15 => Step::Delete {
            name: name(random),
            uid: claim(random),
            version: claim(random),
        },
        16 => Step::Get {
            name: name(random),
            metadata: random.random_range(0..2) == 0,
        },
        17 => watch(random, resource),
        _ => list(random, resource),
    }
}

fn selector(random: &mut StdRng, resource: &Resource) -> Option<(&'static str, &'static str)> {
    (random.random_range(0..3) > 0).then(|| *pick(random, values::selectors(resource)))
}

fn watch(random: &mut StdRng, resource: &Resource) -> Step {
    // A watch that is refused is no watch: lists try that.
    let selector = selector(random, resource).filter(|(_, selector)| *selector != values::NOT_SELECTABLE);
    let back = random.random_range(0..4);
    Step::Watch {
        selector,
        back: (back > 0).then_some(back),
    }
}

fn list(random: &mut StdRng, resource: &Resource) -> Step {
    let mut parameters = Vec::new();
    if random.random_range(0..2) == 0 {
        parameters.push(("limit", random.random_range(1..3).to_string()));
    }
    if let Some((kind, selector)) = selector(random, resource) {
        parameters.push((kind, selector.to_owned()));
    }
    Step::List { parameters }
}

impl Step {
    /// The request, made of what a server said before.
    pub(crate) fn request(&self, resource: &Resource, namespace: &str, memory: &Memory) -> Request<Bytes> {
        let seen = |name: &str, field: &str, claim: Claim| match claim {
            Claim::None => None,
            Claim::Wrong => Some("3".to_owned()),
            Claim::Seen => Some(memory.object(name, 0)?["metadata"][field].as_str()?.to_owned()),
        };
        match self {
            Self::Create { object } => requests::create(resource, namespace, object),
            Self::Merge { name, side, patch } => requests::merge_patch(resource, namespace, name, *side, patch),
            Self::Put {
                name,
                side,
                edit,
                back,
                version,
                uid,
            } => {
                let mut object = match memory.object(name, *back).or_else(|| memory.object(name, 0)) {
                    Some(object) => object.clone(),
                    None => values::object(resource),
                };
                object["metadata"]["name"] = json!(name);
                merge(&mut object, edit.clone());
                let meta = object["metadata"].as_object_mut().unwrap();
                for (field, claim) in [("resourceVersion", *version), ("uid", *uid)] {
                    match claim {
                        Claim::Seen => {}
                        Claim::None => drop(meta.remove(field)),
                        Claim::Wrong => drop(meta.insert(field.to_owned(), json!("3"))),
                    }
                }
                requests::replace(resource, namespace, name, *side, &object)
            }
            Self::Delete { name, uid, version } => {
                let preconditions = Preconditions {
                    uid: seen(name, "uid", *uid),
                    resource_version: seen(name, "resourceVersion", *version),
                };
                requests::delete(resource, namespace, name, &preconditions)
            }
            Self::Get { name, metadata } => {
                let mut get = requests::get(resource, namespace, name);
                if *metadata {
                    let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
                    get.headers_mut().insert("accept", accept.parse().unwrap());
                }
                get
            }
            Self::Watch { .. } => unreachable!("a watch is no single request"),
            Self::List { parameters } => {
                let next = memory.next().map(|token| ("continue", token));
                let parameters: Vec<_> = parameters
                    .iter()
                    .map(|(name, value)| (*name, value.as_str()))
                    .chain(next)
                    .collect();
                requests::list(resource, namespace, &parameters)
            }
        }
    }
}
