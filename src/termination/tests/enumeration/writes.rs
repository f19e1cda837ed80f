//! Writing a status: what the server makes of it, and what the process does then.

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;

use super::{
    faults::{Face, Fault},
    oracle::Witness,
    world::{LateEffect as Delayed, TIMEOUT, World},
};
use crate::{
    api::{GuestTermination, GuestTerminationStatus as Status},
    controller::memory::{Holds, Telling, Unanswered},
    termination::{instants, records},
};

impl World {
    /// As `Shared::write_status`. Says whether the process knows that it is written.
    pub(super) fn write(&mut self, process: usize, next: Status, holds: Holds, fault: Option<Fault>) -> bool {
        use Fault::{AnswerLost, Conflict, CrashAfter, CrashBefore, ErrorWithEffect, ErrorWithoutEffect, LateEffect};
        let base = self.entry(process).unwrap().object.clone();
        let version: u64 = base.metadata.resource_version.as_ref().unwrap().parse().unwrap();
        let old = base.status.as_ref().unwrap();
        let records = records::between(&base, old, &next, self.now);
        let witness = self.processes[process].witness;
        if holds != Holds::Intent {
            self.books.announce(&records);
        }
        self.bystander(process, fault);
        let (reaches, answered) = match fault {
            Some(CrashBefore) => {
                self.crash(process);
                return false;
            }
            Some(CrashAfter) => {
                self.store(version, next, witness);
                self.crash(process);
                return false;
            }
            Some(ErrorWithoutEffect(Face::Throttled | Face::Forbidden)) => {
                self.pass(self.rules.tick);
                self.pause_after_write(process);
                return false;
            }
            Some(LateEffect(_)) => {
                let status = Box::new(next.clone());
                self.lag(Delayed::Write {
                    base: version,
                    status,
                    witness,
                });
                (false, false)
            }
            Some(ErrorWithoutEffect(_)) => (false, false),
            Some(AnswerLost | ErrorWithEffect(_)) => (true, false),
            None | Some(Conflict | Fault::StaleRead) => (true, true),
        };
        let stored = reaches && self.store(version, next.clone(), witness);
        self.pass(if answered { self.rules.tick } else { TIMEOUT });
        if !answered {
            self.doubt(process, next, holds);
        } else if stored {
            let (now, uid) = (self.reading(), self.rules.uid.clone());
            let object = self.server.object.as_ref().clone();
            self.processes[process].index.wrote(&uid, object, now);
            let entry = self.entry_mut(process);
            entry.memory.failed_writes = 0;
            entry.made_durable(&holds);
            let event = |record: &records::Record| matches!(record, records::Record::Event(_));
            self.processes[process].notices = records.iter().any(event);
        } else {
            self.read_again(process);
        }
        answered && stored
    }

    /// The server takes a status, if it is for the version that it has.
    pub(super) fn store(&mut self, base: u64, status: Status, witness: Witness) -> bool {
        if self.server.deleted || base != self.server.version {
            return false;
        }
        self.check_store(&status, witness);
        let mut object = self.server.object.as_ref().clone();
        self.books.durable(object.status.as_ref().unwrap(), &status, self.now);
        object.status = Some(status);
        self.renew(object);
        // What was written for an older version is refused from now on.
        let version = self.server.version;
        self.late
            .retain(|late| !matches!(late.what, Delayed::Write { base, .. } if base != version));
        true
    }

    pub(super) fn renew(&mut self, mut object: GuestTermination) {
        self.server.version += 1;
        object.metadata.resource_version = Some(self.server.version.to_string());
        self.server.before = Some(std::mem::replace(&mut self.server.object, Arc::new(object)));
    }

    pub(super) fn tell_news(&mut self, process: usize) {
        let now = self.reading();
        if self.server.deleted {
            self.mark_deleted(process);
        } else {
            let object = self.server.object.as_ref().clone();
            self.processes[process].index.see(object, now);
        }
        self.processes[process].busy_until = Timestamp::MIN;
    }

    pub(super) fn mark_deleted(&mut self, process: usize) {
        let moment = self.moment();
        let entry = self.entry_mut(process);
        entry.deleted = true;
        entry.doubtful = false;
        entry.memory.deleted_at = Some(moment);
    }

    /// A read of the newest version, as after a conflict.
    pub(super) fn read_again(&mut self, process: usize) {
        if self.server.deleted {
            return self.mark_deleted(process);
        }
        let (now, uid) = (self.reading(), self.rules.uid.clone());
        let fresh = self.server.object.as_ref().clone();
        let before = self.entry_mut(process).object.clone();
        self.processes[process].index.read(&uid, fresh, &before, now);
    }

    /// A write that was not answered.
    pub(super) fn doubt(&mut self, process: usize, written: Status, holds: Holds) {
        let entry = self.entry_mut(process);
        entry.doubtful = true;
        entry.memory.unanswered.push(Unanswered {
            written,
            holds,
            telling: Telling::default(),
        });
        self.pause_after_write(process);
    }

    /// Doubling from a second, as the shell does.
    pub(super) fn pause_after_write(&mut self, process: usize) {
        let entry = self.entry_mut(process);
        entry.memory.failed_writes += 1;
        let pause = Duration::from_secs(1 << (entry.memory.failed_writes - 1).min(5));
        self.processes[process].busy_until = instants::later(self.now, pause);
    }
}
