//! A panic is one line of the logs.
//!
//! The default hook prints several raw lines between those of the logs, and quotes what the panic says. That may be
//! whatever the program had at hand, such as a body or a token in the error of an `unwrap`: it is told to nobody. The
//! place in the sources is what a repair needs.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    panic::{PanicHookInfo, set_hook},
    thread,
};

use super::metrics::Metrics;

/// From now on every panic of the process is counted and logged, once, where it happens; whoever catches it need not.
/// To be called when logging is set up.
pub fn install(metrics: Metrics) {
    set_hook(Box::new(move |panic| {
        metrics.panic();
        tell(panic);
    }));
}

fn tell(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = thread::current();
    let thread = thread.name().unwrap_or_default();
    // Names of functions and files alone, where RUST_BACKTRACE asks for them.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(location, thread, backtrace, "the program panicked. This is a bug.");
}
