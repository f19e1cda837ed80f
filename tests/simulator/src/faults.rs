//! The registered faults: which of them, if any, is the next call's.

use http::{HeaderName, HeaderValue};
use rand::RngExt as _;
use rand::rngs::StdRng;

use crate::api::{Fault, FaultAction, FaultSpec, ScriptedAnswer, Target};
use crate::call::Incoming;
use crate::controls::ControlError;

/// The faults, in the order of their registration.
#[derive(Default)]
pub(crate) struct Faults {
    faults: Vec<Fault>,
    last_id: u64,
}

impl Faults {
    /// Registers a fault and returns its id.
    pub(crate) fn add(&mut self, spec: FaultSpec) -> Result<u64, ControlError> {
        check(&spec)?;
        self.last_id += 1;
        self.faults.push(Fault {
            id: self.last_id,
            spec,
            matched: 0,
            hits: 0,
        });
        Ok(self.last_id)
    }

    pub(crate) fn remove(&mut self, id: u64) -> bool {
        let before = self.faults.len();
        self.faults.retain(|fault| fault.id != id);
        self.faults.len() < before
    }

    pub(crate) fn clear(&mut self) {
        self.faults.clear();
    }

    pub(crate) fn list(&self) -> Vec<Fault> {
        self.faults.clone()
    }

    /// The fault that acts on this call; it counts the hit.
    pub(crate) fn pick(&mut self, call: &Incoming, random: &mut StdRng) -> Option<(u64, FaultSpec)> {
        for fault in &mut self.faults {
            let spec = &fault.spec;
            if spec.count.is_some_and(|count| fault.hits >= count) || !matches(spec, call) {
                continue;
            }
            fault.matched += 1;
            if fault.matched <= spec.skip || spec.probability.is_some_and(|p| random.random::<f64>() >= p) {
                continue;
            }
            fault.hits += 1;
            return Some((fault.id, spec.clone()));
        }
        None
    }
}

fn matches(spec: &FaultSpec, call: &Incoming) -> bool {
    let guest = call.guest.as_deref();
    spec.operation.is_none_or(|operation| operation == call.operation)
        && match &spec.target {
            Target::Any => true,
            Target::Guest(id) => guest == Some(id),
            Target::GuestPrefix(prefix) => guest.is_some_and(|guest| guest.starts_with(prefix.as_str())),
            Target::Path(path) => call.path() == path,
            Target::PathPrefix(prefix) => call.path().starts_with(prefix.as_str()),
        }
}

/// Refuses at registration what could not be sent later.
fn check(spec: &FaultSpec) -> Result<(), ControlError> {
    if spec
        .probability
        .is_some_and(|probability| !(0.0..=1.0).contains(&probability))
    {
        return Err(ControlError::Invalid("probability must be between 0 and 1".to_owned()));
    }
    match &spec.action {
        FaultAction::Answer { answer, .. } => check_answer(answer),
        FaultAction::Pass | FaultAction::Reset { .. } | FaultAction::Hang { .. } => Ok(()),
    }
}

fn check_answer(answer: &ScriptedAnswer) -> Result<(), ControlError> {
    if !(200..=599).contains(&answer.status) {
        return Err(ControlError::Invalid(format!(
            "status {} cannot be answered",
            answer.status
        )));
    }
    for (name, value) in &answer.headers {
        if HeaderName::try_from(name).is_err() || HeaderValue::try_from(value).is_err() {
            return Err(ControlError::Invalid(format!("{name:?} is no valid header")));
        }
    }
    Ok(())
}
