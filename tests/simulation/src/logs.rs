//! What the operator logs, kept for the history.

use std::{
    cell::RefCell,
    fmt::{self, Write},
    sync::LazyLock,
};

use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    dispatcher::DefaultGuard,
    field::{Field, Visit},
};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt},
    registry::Registry,
};

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// One for all runs: a new one would make every thread ask again which events it wants.
static KEEPER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(Registry::default().with(Keeper)));

/// Keeps what is logged on this thread, until the guard is dropped.
pub(crate) fn keep() -> DefaultGuard {
    LINES.with_borrow_mut(Vec::clear);
    tracing::dispatcher::set_default(&KEEPER)
}

/// What was logged on this thread since the last time.
pub(crate) fn take() -> Vec<String> {
    LINES.with_borrow_mut(std::mem::take)
}

struct Keeper;

impl<S: Subscriber> Layer<S> for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= Level::INFO && metadata.target().starts_with(operator())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        LINES.with_borrow_mut(|lines| lines.push(line.0));
    }
}

/// The name of the operator's crate. The one with the planted bugs has another one.
fn operator() -> &'static str {
    let path = std::any::type_name::<guest_termination_operator::app::Seams>();
    path.split("::").next().unwrap_or(path)
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = if field.name() == "message" {
            write!(self.0, " {value:?}")
        } else {
            write!(self.0, " {}={value:?}", field.name())
        };
    }
}
