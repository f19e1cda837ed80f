//! Objects that were let go for good, and which version of each was the last one.
//!
//! An object is forgotten when it is settled or deleted. A watch or a list that lags may tell of it once more, as it was
//! before: with an open intent, perhaps, or without any attempt. Nothing that follows from such a version can be written,
//! but a look would be made for it, and the audit log would tell another end of it. One that was deleted never comes back:
//! its successor has another uid.

use std::collections::{BTreeMap, VecDeque};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::versions::version;
use crate::schedule::Uid;

/// So many are remembered. What lags by more than that is a restart's business too, which remembers none.
const MOST: usize = 4_096;

/// The last versions of the objects that were let go last.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    versions: BTreeMap<Uid, u64>,
    order: VecDeque<Uid>,
}

impl Past {
    /// An object is let go that was settled; this was the last version of it that is known.
    pub(super) fn settled(&mut self, uid: &Uid, last: &ObjectMeta) {
        if let Some(last) = version(last) {
            self.keep(uid, last);
        }
    }

    /// An object is let go that the server says is not there any more.
    pub(super) fn deleted(&mut self, uid: &Uid) {
        self.keep(uid, u64::MAX);
    }

    fn keep(&mut self, uid: &Uid, last: u64) {
        if self.versions.insert(uid.clone(), last).is_none() {
            self.order.push_back(uid.clone());
        }
        while self.order.len() > MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.versions.remove(&oldest);
            }
        }
    }

    /// Whether that version of an object is one from before it was let go.
    pub(super) fn covers(&self, uid: &Uid, told: &ObjectMeta) -> bool {
        let last = self.versions.get(uid);
        last.zip(version(told)).is_some_and(|(last, told)| told <= *last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(version: u64) -> ObjectMeta {
        ObjectMeta {
            resource_version: Some(version.to_string()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn what_was_let_go_is_known_up_to_its_last_version() {
        let mut past = Past::default();
        let uid: Uid = "a".into();
        assert!(!past.covers(&uid, &at(1)));
        past.settled(&uid, &at(7));
        assert!(past.covers(&uid, &at(6)) && past.covers(&uid, &at(7)));
        assert!(!past.covers(&uid, &at(8)), "somebody made it come back");
        assert!(!past.covers(&"b".into(), &at(6)));
        assert!(
            !past.covers(&uid, &ObjectMeta::default()),
            "what cannot be compared is news"
        );
        past.settled(&uid, &at(9));
        assert!(past.covers(&uid, &at(8)));
        past.deleted(&uid);
        assert!(past.covers(&uid, &at(100)), "a deleted one does not");
    }

    #[test]
    fn the_oldest_ones_are_forgotten() {
        let mut past = Past::default();
        let uid = |number: usize| -> Uid { format!("{number}").into() };
        for number in 0..=MOST {
            past.settled(&uid(number), &at(1));
            past.settled(&uid(number), &at(2));
        }
        assert!(!past.covers(&uid(0), &at(1)));
        assert!(past.covers(&uid(1), &at(1)) && past.covers(&uid(MOST), &at(2)));
        assert_eq!((past.versions.len(), past.order.len()), (MOST, MOST));
    }
}
