//! What the demo says while it goes on.

use std::future::Future;
use std::io::Write as _;
use std::time::{Duration, Instant};

/// How often a wait says that it goes on.
const EVERY: Duration = Duration::from_secs(5);

/// A line for whoever watches. Nobody who reads it is no reason to stop.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// The heading of a part.
pub(crate) fn heading(line: &str) {
    say(&format!("\n== {line}"));
}

/// Says what is waited for, that the wait goes on, and how long it took.
pub(crate) async fn waiting<T>(what: &str, until: impl Future<Output = T>) -> T {
    let since = Instant::now();
    let mut until = std::pin::pin!(until);
    say(&format!("waiting for {what} …"));
    loop {
        tokio::select! {
            result = &mut until => {
                say(&format!("  {:.1} s", since.elapsed().as_secs_f64()));
                return result;
            }
            () = tokio::time::sleep(EVERY) => say(&format!("  {} s so far", since.elapsed().as_secs())),
        }
    }
}
