//! Everything that the simulator knows, behind one lock.

use std::collections::BTreeMap;

use rand::SeedableRng as _;
use rand::rngs::StdRng;

use crate::api::{Client, FaultAction, FaultBody, FaultSpec, Operation, Outage, OutageKind, ScriptedAnswer, Settings};
use crate::book::Book;
use crate::faults::Faults;
use crate::receiver::Endpoint;
use crate::sessions::Session;
use crate::vendor::Token;

pub(crate) struct State {
    pub(crate) settings: Settings,
    pub(crate) random: StdRng,
    /// Secrets by client id.
    pub(crate) clients: BTreeMap<String, String>,
    pub(crate) tokens: BTreeMap<String, Token>,
    pub(crate) last_token: u64,
    pub(crate) sessions: BTreeMap<String, Session>,
    pub(crate) endpoints: BTreeMap<String, Endpoint>,
    pub(crate) faults: Faults,
    pub(crate) outage: Outage,
    pub(crate) book: Book,
}

impl State {
    pub(crate) fn new(seed: u64, settings: Settings, clients: Vec<Client>) -> Self {
        Self {
            settings,
            random: StdRng::seed_from_u64(seed),
            clients: clients.into_iter().map(|client| (client.id, client.secret)).collect(),
            tokens: BTreeMap::new(),
            last_token: 0,
            sessions: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            faults: Faults::default(),
            outage: Outage::default(),
            book: Book::default(),
        }
    }

    /// What an outage does with this operation, as a fault.
    pub(crate) fn outage_of(&self, operation: Operation) -> Option<FaultSpec> {
        let action = match self.outage.of(operation)? {
            OutageKind::Unavailable if operation == Operation::Webhook => FaultAction::Answer {
                answer: ScriptedAnswer::new(503, FaultBody::Empty),
                after_effect: false,
            },
            OutageKind::Unavailable => FaultAction::Answer {
                answer: ScriptedAnswer::vendor(503),
                after_effect: false,
            },
            OutageKind::Reset => FaultAction::Reset { after_effect: false },
            OutageKind::Hang => FaultAction::Hang { after_effect: false },
        };
        Some(FaultSpec::default().action(action))
    }
}
