//! The switches of the planted bugs.

use std::cell::Cell;

thread_local! {
    static ON: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// A planted bug, as its file tells of it.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    /// The file's name, which is the switch.
    pub name: &'static str,
    /// What is wrong, in a sentence.
    pub title: &'static str,
    /// The invariant that it breaks, or several of which one is broken first.
    pub breaks: &'static str,
    /// Words that a plan holds in which it shows soon.
    pub plan: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/bugs.rs"));

/// Switches one bug on in this thread, in place of the one that was, or all of them off.
///
/// # Panics
/// If there is no bug of that name.
pub fn set(bug: Option<&'static str>) {
    assert!(
        bug.is_none_or(|name| BUGS.iter().any(|bug| bug.name == name)),
        "no bug is called {bug:?}"
    );
    ON.set(bug);
}

/// Whether that bug is on in this thread. The planted sources ask.
pub(crate) fn is(bug: &str) -> bool {
    ON.get() == Some(bug)
}
