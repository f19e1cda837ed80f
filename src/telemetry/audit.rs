//! The audit log: JSON lines, written before the call that they announce leaves.

use std::{
    fmt,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use k8s_openapi::jiff::{Timestamp, fmt::temporal::DateTimePrinter};
use serde_json::{Map, Value};

use super::escape_controls;

/// The `message` of every line: what a log query filters by.
pub const MESSAGE: &str = "session_termination_audit";

/// Writes audit lines, whatever the format of the other logs is. Cheap to clone; clones write to the same place.
///
/// A line is one `write` and a flush, under a lock: nothing is buffered, nothing interleaves. A reader that stops
/// reading holds the writer up, and with it the call that the line announces: no call leaves without its line.
#[derive(Clone)]
pub struct AuditLog {
    sink: Arc<Mutex<Sink>>,
}

struct Sink {
    output: Box<dyn Write + Send>,
    /// The last write failed and may have left a piece of a line.
    torn: bool,
}

impl AuditLog {
    /// An audit log on that output.
    pub fn new(output: Box<dyn Write + Send>) -> Self {
        Self {
            sink: Arc::new(Mutex::new(Sink { output, torn: false })),
        }
    }

    /// The audit log on standard output.
    pub fn stdout() -> Self {
        Self::new(Box::new(io::stdout()))
    }

    /// Writes one record as one line: `timestamp` (unless the record has its own), `message`, then its fields.
    ///
    /// An error means that the line is not there, or not whole: who announces a call must not make it then. The next
    /// line starts on a line of its own.
    pub fn write(&self, at: Timestamp, record: &Map<String, Value>) -> io::Result<()> {
        let line = line(at, record)?;
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let Sink { output, torn } = &mut *sink;
        let start = if *torn { "\n" } else { "" };
        // A panic in the writer leaves a torn line too.
        *torn = true;
        output.write_all(format!("{start}{line}\n").as_bytes())?;
        output.flush()?;
        *torn = false;
        Ok(())
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AuditLog").finish_non_exhaustive()
    }
}

fn line(at: Timestamp, record: &Map<String, Value>) -> serde_json::Result<String> {
    const MILLISECONDS: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    let timestamp = match record.get("timestamp") {
        Some(own) => serde_json::to_string(own)?,
        None => serde_json::to_string(&MILLISECONDS.timestamp_to_string(&at))?,
    };
    let mut line = format!("{{\"timestamp\":{timestamp},\"message\":\"{MESSAGE}\"");
    for (key, value) in record {
        if key != "timestamp" && key != "message" {
            line.push(',');
            line.push_str(&serde_json::to_string(key)?);
            line.push(':');
            line.push_str(&serde_json::to_string(value)?);
        }
    }
    line.push('}');
    Ok(escape_controls(&line))
}
